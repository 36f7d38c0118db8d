"""Files of plain data that others may have changed, read within bounds: every defect is a `ValueError` of one line."""

import json
import math
import os
import stat
from typing import Any, Dict, Sequence, Tuple

MAX_LINE_BYTES = 1 << 20
"""A longer line is none that the worker wrote."""
MAX_DIGITS = 30
"""A whole number of more digits is none that the worker reads; old versions of Python take hours for a million."""


def read_bounded(path: str, *, limit: int) -> bytes:
    """Content of a file of at most `limit` bytes; a pipe is not waited for.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no regular file, or a larger one.
    """
    with open_regular(path) as file:
        content: bytes = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"got a file of more than {limit:,} bytes")
    return content


def open_regular(path: str) -> Any:
    """A regular file, open to be read in bytes; raises `OSError`, and `ValueError` for anything else."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise ValueError("got no regular file")
    return os.fdopen(number, "rb")


def value_of(content: bytes, *, limit: int = MAX_LINE_BYTES) -> object:
    """The JSON value of a line or a file.

    Raises:
        ValueError: For what is longer, in another encoding, or no JSON; for a name that occurs twice in an object, for NaN and
            infinite numbers, for whole numbers of more than `MAX_DIGITS`, and for what is nested too deep.
    """
    if len(content) > limit:
        raise ValueError(f"got {len(content):,} bytes, expected at most {limit:,}")
    try:
        return json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_int=_whole, parse_float=_finite, parse_constant=_finite
        )
    except (ValueError, RecursionError) as error:  # of which a wrong encoding is one
        raise ValueError(f"not valid JSON: {error}") from error


def cut(value: object, limit: int = 80) -> str:
    """`repr` of a value in at most `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def one_line(error: object, limit: int = 200) -> str:
    """An error's text on one line of at most `limit` characters, without what could steer a terminal."""
    text = "".join(char if char.isprintable() else "?" for char in " ".join(str(error).split()))
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _unique(pairs: Sequence[Tuple[str, Any]]) -> Dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("got a name twice in one object, expected each name once")
    return fields


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"got a number of {len(text):,} digits, expected at most {MAX_DIGITS}")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"got {cut(text)}, expected a finite number")
    return number
