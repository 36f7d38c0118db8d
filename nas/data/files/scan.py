"""The check of a whole split before the first step: every file is read once, by several threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from nas.errors import DataError

_MAX_THREADS = 8

T = TypeVar("T")


def scan_frames(read: Callable[[int], T], count: int) -> list[T]:
    """Read all frames and report what is broken.

    Args:
        read: Reads one frame and raises `DataError` if there is anything wrong with it.
        count: Number of frames.

    Returns:
        What was read of each frame, in order.

    Raises:
        DataError: The error of the first broken frame, and how many more there are.
    """

    def attempt(index: int) -> T | DataError:
        try:
            return read(index)
        except DataError as error:
            return error

    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        attempts = list(pool.map(attempt, range(count)))
    faults = [one for one in attempts if isinstance(one, DataError)]
    if faults:
        more = f" ({len(faults) - 1} more of {count} images are broken)" if len(faults) > 1 else ""
        raise DataError(f"{faults[0]}{more}") from faults[0]
    return [one for one in attempts if not isinstance(one, DataError)]
