"""JSON read strictly: no duplicate names, no NaN, exact fields and types; each defect is a `ValueError` of one line."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import NoReturn

from nas.files.shortening import shorten

MAX_DEPTH = 32
"""Deepest nesting that is read: what works through the data calls itself for each level."""


def parse_strict(text: str) -> object:
    """Parse JSON, refusing what the standard library lets pass: duplicate names in an object, NaN and infinities, endless nesting.

    Args:
        text: One JSON value.

    Returns:
        Plain Python data.

    Raises:
        ValueError: If the text is no JSON or has one of those defects.

    >>> parse_strict('{"n": 1, "n": 2}')
    Traceback (most recent call last):
        ...
    ValueError: got 'n' twice in one object, expected each name once
    """
    try:
        value: object = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("got JSON nested too deeply") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise ValueError(f"got JSON nested too deeply, expected at most {MAX_DEPTH} levels")
    return value


def as_object(value: object, where: str, fields: Collection[str], *, optional: Collection[str] = ()) -> dict[str, object]:
    """The object at `where`, which must have exactly the given fields; of the optional ones it may have any."""
    expected = ", ".join(fields) + (f" and perhaps {', '.join(optional)}" if optional else "")
    if not isinstance(value, dict):
        raise ValueError(f"{where}: got {shorten(value)}, expected an object with {expected}")
    missing = [name for name in fields if name not in value]
    known = {*fields, *optional}
    unknown = [name for name in value if name not in known]
    if missing:
        raise ValueError(f"{where}: {_names(missing)} is missing, expected {expected}")
    if unknown:
        raise ValueError(f"{where}: got unknown {_names(unknown)}, expected {expected}")
    return value


def as_text(value: object, where: str) -> str:
    """The non-empty text at `where`."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: got {shorten(value)}, expected a text")
    return value


def as_optional_text(value: object, where: str) -> str | None:
    """The non-empty text at `where`, or None for null."""
    return None if value is None else as_text(value, where)


def as_texts(value: object, where: str) -> tuple[str, ...]:
    """The list of non-empty texts at `where`."""
    return tuple(as_text(item, f"{where}[{index}]") for index, item in enumerate(as_list(value, where)))


def as_bool(value: object, where: str) -> bool:
    """The truth value at `where`; 0 and 1 are none."""
    if not isinstance(value, bool):
        raise ValueError(f"{where}: got {shorten(value)}, expected true or false")
    return value


def as_list(value: object, where: str) -> list[object]:
    """The list at `where`."""
    if not isinstance(value, list):
        raise ValueError(f"{where}: got {shorten(value)}, expected a list")
    return value


def as_count(value: object, where: str, *, minimum: int) -> int:
    """The whole number at `where`, at least `minimum`; `true` and `1.0` are no whole numbers."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{where}: got {shorten(value)}, expected a whole number of at least {minimum}")
    return value


def as_number(value: object, where: str) -> float:
    """The finite number at `where`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where}: got {shorten(value)}, expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{where}: got {shorten(value)}, expected a finite number")
    return number


def as_share(value: object, where: str) -> float:
    """The number from 0 to 1 at `where`."""
    number = as_number(value, where)
    if not 0 <= number <= 1:
        raise ValueError(f"{where}: got {number}, expected a share from 0 to 1")
    return number


def as_size(value: object, where: str) -> tuple[int, int]:
    """The [height, width] in pixels at `where`."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{where}: got {shorten(value)}, expected [height, width]")
    height, width = (as_count(side, where, minimum=1) for side in value)
    return height, width


def _is_deeper(value: object, levels: int) -> bool:
    """Whether data have more levels of lists and objects than that."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (levels == 0 or any(_is_deeper(one, levels - 1) for one in inner))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(f"got {shorten(name)} twice in one object, expected each name once")
        result[name] = value
    return result


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"got {text}, expected a finite number")


def _names(names: list[str]) -> str:
    return shorten(", ".join(names))
