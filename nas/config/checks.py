"""Checks that settings share; each raises a `ConfigError` that names the key, what was got and what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.errors import ConfigError
from nas.files.value_text import value_text


def require(condition: bool, message: str) -> None:
    """Refuse with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    """Check that a value is among those allowed."""
    require(value in allowed, f"{key}: got {value!r}, expected one of {', '.join(allowed)}")


def at_least(section: str, settings: object, least: Mapping[str, float]) -> None:
    """Check settings of a section against the least value of each; None passes."""
    for name, bound in least.items():
        value = getattr(settings, name)
        require(value is None or value >= bound, f"{section}{name}: got {value}, expected at least {bound:g}")


def check_size(key: str, value: Sequence[int] | None) -> None:
    """Check a height and width in pixels; None passes."""
    require(
        value is None or (len(value) == 2 and all(type(side) is int and side >= 1 for side in value)),
        f"{key}: got {value_text(value)}, expected [HEIGHT,WIDTH] in pixels, both at least 1",
    )


def check_class_weights(key: str, value: Any) -> None:
    """Check what does not depend on the number of classes."""
    if value is None or value == "auto":
        return
    numbers = isinstance(value, list) and all(type(one) in (int, float) and 0 <= one < float("inf") for one in value)
    require(numbers and any(value), f"{key}: got {_quoted(value)}, expected null, auto, or a list of numbers from 0, not all 0")


def check_tables(key: str, value: Any) -> int:
    """Check the name of a table or a list of names; their number."""
    names = [value] if isinstance(value, str) else value
    good = isinstance(names, list) and len(names) >= 1 and all(isinstance(name, str) for name in names)
    require(good, f"{key}: got {_quoted(value)}, expected DEVICE/RUNTIME, a path, macs or none, or a list of tables")
    return len(names)


def check_numbers(key: str, value: Any, *, count: int, least: float) -> None:
    """Check a number, or a list of `count` numbers, against the least allowed."""
    listed = isinstance(value, list)
    numbers = value if listed else [value]
    good = all(type(one) in (int, float) and least <= one < float("inf") for one in numbers)
    require(good, f"{key}: got {_quoted(value)}, expected at least {least:g}: a number, or a list with one for each table")
    require(
        not listed or len(value) == count, f"{key}: got {value_text(value)}, expected one number, or one for each of {count} tables"
    )


def check_targets(key: str, value: Any, *, count: int) -> None:
    """Check targets in ms: a number where there is one table, else a list with a number or null for each."""
    listed = value if isinstance(value, list) else [value]
    good = all(one is None or (type(one) in (int, float) and 0 < one < float("inf")) for one in listed)
    require(good and any(one is not None for one in listed), f"{key}: got {_quoted(value)}, expected milliseconds above 0")
    require(
        len(listed) == count,
        f"{key}: got {_quoted(value)}, expected a target for each of {count} tables, null for those without",
    )


def check_ssh(runner: str, host: str | None, ssh: object) -> None:
    """Check that a host and how to log in are given with runner=ssh, and only then.

    Args:
        runner: Where the worker runs.
        host: The machine.
        ssh: How to log in: a settings dataclass that is all defaults if it is not used.
    """
    require(runner != "ssh" or host is not None, "host: got null with runner=ssh, expected host=[USER@]HOST[:PORT]")
    for key, given in (("host", host is not None), ("ssh", ssh != type(ssh)())):
        require(runner == "ssh" or not given, f"{key}: got a value with runner={runner}; give runner=ssh, or leave {key} away")


def _quoted(value: Any) -> str:  # noqa: ANN401
    """A value as settings have it; a text in quotes."""
    return repr(value) if isinstance(value, str) else value_text(value)
