"""Recipes: files of `conf/recipe/` with settings that belong together, from which each verb takes what it knows.

One file may hold what a search and a training on some data need: `nas search recipe=NAME` leaves its section `train` out,
`nas train recipe=NAME` its sections `space`, `search`, `latency` and `deploy`. A section that no verb knows is refused.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.errors import ConfigError
from nas.space.space_entry import SpaceEntry

_log = logging.getLogger("nas")
GROUP = "recipe"
SHARED = ("data", "trainer")
"""Sections that make no recipe of a verb by themselves."""
_DEFAULTS = "defaults"
_GROUP_OF_DEFAULT = re.compile(r"(?:override\s+|optional\s+)*/?(?P<group>[\w/]+)")


@dataclass(frozen=True, slots=True)
class Recipes:
    """The recipes as one verb sees them.

    Args:
        configs: Name -> what the verb takes from it; recipes that hold nothing for the verb are left out.
        others: Names of those that are left out.
        whole: Names of those in folders of `recipe/`, which Hydra reads as they are.
    """

    configs: Mapping[str, dict[str, Any]]
    others: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()

    def check(self, overrides: Sequence[str]) -> None:
        """Refuse the choice of a recipe that does not exist, which Hydra would pass over, or that holds nothing for the verb.

        With `hydra.searchpath` there may be others, which Hydra finds.

        Raises:
            ConfigError: Naming those that do.
        """
        if any(word.lstrip("+").startswith("hydra.searchpath=") for word in overrides):
            return
        for word in overrides:
            key, _, value = word.lstrip("+").partition("=")
            names = re.findall(r"[^,\[\]\s'\"]+", value) if key == GROUP else []
            for name in names:
                if name != "null" and name not in (*self.configs, *self.whole):
                    reason = ", which has no settings of this verb" if name in self.others else ""
                    raise ConfigError(f"{GROUP}: got {name!r}{reason}, expected one of {', '.join(sorted(self.configs))}")


def check_space(choices: Mapping[str, Any], overrides: Sequence[str], spaces: Mapping[str, SpaceEntry]) -> None:
    """Refuse the recipe of some spaces with another one that nobody asked for; where it was asked for, say so.

    Args:
        choices: Config group -> what was chosen.
        overrides: The overrides of the job.
        spaces: The search spaces, by name.

    Raises:
        ConfigError: If the space is only the default.
    """
    recipe, space = choices.get(GROUP), choices.get("space")
    own = [name for name, entry in spaces.items() if recipe == (entry.recipe or name)]
    if not own or space is None or space in own:
        return
    told = f"{GROUP}: got {recipe}, which is that of {', '.join(own)}, with space={space}"
    if not any(word.lstrip("+").startswith("space=") for word in overrides):
        raise ConfigError(f"{told}, the default; add space={own[0]}, or space={space} if that is meant")
    _log.warning("%s", told)


def read_recipes(folders: Sequence[Path], fields: Collection[str], known: Collection[str]) -> Recipes:
    """The recipes of config folders.

    Args:
        folders: Folders with a folder `recipe`; of two recipes of one name the first counts.
        fields: The sections and settings of the verb.
        known: Those of any verb that takes recipes.

    Raises:
        ConfigError: If a file is no YAML or no mapping, or holds a section that no verb knows.
    """
    configs: dict[str, dict[str, Any]] = {}
    others = []
    for path in (path for folder in folders for path in sorted((folder / GROUP).glob("*.yaml"))):
        if path.stem in configs or path.stem in others:
            continue
        taken = _taken(path, fields, known)
        if set(taken) - {_DEFAULTS, *SHARED}:
            configs[path.stem] = taken
        else:
            others.append(path.stem)
    for config in configs.values():  # one that builds on a recipe takes of that, too, what the verb knows
        if _DEFAULTS in config:
            config[_DEFAULTS] = [one for one in config[_DEFAULTS] if one not in others]
    deep = [path.relative_to(folder / GROUP) for folder in folders for path in (folder / GROUP).glob("*/**/*.yaml")]
    return Recipes(configs, tuple(others), tuple(str(path.with_suffix("")) for path in deep))


def _taken(path: Path, fields: Collection[str], known: Collection[str]) -> dict[str, Any]:
    """The part of a recipe that a verb knows."""
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}; expected sections of settings in YAML") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: got {type(content).__name__}, expected sections of settings, e.g. search: {{epochs: 12}}")
    wrong = [str(key) for key in content if key not in known and key != _DEFAULTS]
    if wrong:
        raise ConfigError(f"{path}: {wrong[0]}: no verb has such a section; expected some of {', '.join(known)}")
    taken = {key: value for key, value in content.items() if key in fields}
    defaults = [one for one in content.get(_DEFAULTS, []) if _group(one) in (None, *fields)]
    return {**({_DEFAULTS: defaults} if defaults else {}), **taken}


def _group(default: Any) -> str | None:
    """The config group of an entry of a defaults list; None: another recipe, or the file itself."""
    if not isinstance(default, dict):
        return None
    match = _GROUP_OF_DEFAULT.match(str(next(iter(default))))
    return None if match is None else match["group"]
