"""Settings that are paths on this machine: `~` in them is the home folder, on the command line, in YAML and in Python alike.

A shell expands `~` at the beginning of a word alone, and thus in no KEY=~/FOLDER.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from nas.errors import ConfigError

_MARK = "path"


def path_setting(default: Any) -> Any:  # noqa: ANN401  the type stands before it
    """A field of a dataclass of settings that is a path, or a list of paths; `expand_home` looks for it."""
    return field(default=default, metadata={_MARK: True})


def expand_home(section: str, settings: object) -> None:
    """Write the home folder for `~` or `~USER` at the beginning of a dataclass's path settings; called first in `__post_init__`.

    Args:
        section: What stands before a field's name in its key, e.g. `data.`.
        settings: The instance.

    Raises:
        ConfigError: If there is no such user.
    """
    for one in fields(settings):  # type: ignore[arg-type]  # an instance of a dataclass
        if one.metadata.get(_MARK):
            setattr(settings, one.name, _expanded(f"{section}{one.name}", getattr(settings, one.name)))


def path_keys(settings: type[Any], prefix: str = "") -> Iterator[str]:
    """The keys of the path settings of a dataclass and of the sections in it, e.g. `latency.table`."""
    types = get_type_hints(settings)
    for one in fields(settings):
        if one.metadata.get(_MARK):
            yield f"{prefix}{one.name}"
        elif is_dataclass(section := types[one.name]):
            yield from path_keys(section, f"{prefix}{one.name}.")  # type: ignore[arg-type]  # a class


def path_values(settings: Any) -> Iterator[str]:  # noqa: ANN401  any dataclass of settings
    """The paths that a dataclass of settings and the sections in it name."""
    for one in fields(settings):
        value = getattr(settings, one.name)
        if is_dataclass(value):
            yield from path_values(value)
        elif one.metadata.get(_MARK) and value is not None:
            yield from [value] if isinstance(value, str) else [path for path in value if path is not None]


def in_home(path: str) -> str:
    """The path with the home folder for `~` or `~USER` at its beginning.

    Raises:
        ConfigError: If there is no such user, or no such folder.

    >>> in_home("a/~b")
    'a/~b'
    """
    found = os.path.expanduser(path)  # noqa: PTH111  pathlib would drop a "./" at the beginning and a "/" at the end
    if found.startswith("~") and path.partition("/")[0] == "~":
        raise ConfigError("HOME is unset and this user has no home folder; give the whole path")
    if found.startswith("~"):
        raise ConfigError(f"there is no user {Path(path).parts[0][1:]!r}; for a file or folder of this name write ./{path}")
    return found


def home_written(settings: Mapping[str, Any], section: str, kind: type[Any]) -> dict[str, Any]:
    """Flat settings of a run of before, which kept `~` as it was given, with the home folder in its place.

    Args:
        settings: Dotted key -> value.
        section: What stands before the keys of the dataclass, e.g. `data.`.
        kind: The dataclass; what is none has no paths.
    """
    written = dict(settings)
    for key in path_keys(kind, section) if is_dataclass(kind) else ():
        with suppress(ConfigError):  # of another machine's user, and thus another path
            if key in written:
                written[key] = _expanded(key, written[key])
    return written


def _expanded(key: str, value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_expanded(key, one) for one in value]
    if isinstance(value, Mapping) or not isinstance(value, str | Path):
        return value
    try:
        return in_home(str(value)) if isinstance(value, str) else Path(in_home(str(value)))
    except ConfigError as error:
        raise ConfigError(f"{key}: got {str(value)!r}, and {error}") from error
