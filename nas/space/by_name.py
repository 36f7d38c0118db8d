"""From the config of a space, or its settings as plain data, to the space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nas.errors import ConfigError
from nas.space.space_entry import SpaceEntry

if TYPE_CHECKING:
    from nas.space.search_space import SearchSpace


def build_space(config: Any, spaces: Mapping[str, SpaceEntry]) -> SearchSpace:  # noqa: ANN401  the config of any space
    """The search space of a config, chosen by the config's `name`.

    Raises:
        ConfigError: If there is no space of that name, or the config is another space's.
    """
    name = str(getattr(config, "name", "nothing"))
    if name not in spaces:
        raise ConfigError(f"space.name: got {name!r}, expected one of {', '.join(spaces)}; choose it with space=NAME")
    if not spaces[name].searched:
        raise ConfigError(
            f"space.name: got {name!r}, whose networks are hand-made, so that there is nothing to search; "
            f"give one of them as genotype={name}/NAME to nas train"
        )
    if not isinstance(config, spaces[name].config):
        raise ConfigError(f"space.name: got {name!r} with settings of another space; choose it with space={name}")
    return spaces[name].build(config)


def space_config(settings: Mapping[str, Any], spaces: Mapping[str, SpaceEntry]) -> Any:  # noqa: ANN401  the config of any space
    """The config of a search space from plain data, `name` among them.

    Raises:
        ConfigError: If there is no space of that name.
    """
    if settings["name"] not in spaces:
        raise ConfigError(f"space.name: got {settings['name']!r}, expected one of {', '.join(spaces)}")
    return spaces[settings["name"]].config(**settings)
