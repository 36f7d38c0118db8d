"""The check of a whole split before the first step: every file is read once, by several threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from nas.errors import DataError

_MAX_THREADS = 8


def scan_frames(read: Callable[[int], object], count: int) -> None:
    """Read all frames and report what is broken.

    Args:
        read: Reads one frame and raises `DataError` if there is anything wrong with it.
        count: Number of frames.

    Raises:
        DataError: The error of the first broken frame, and how many more there are.
    """

    def fault(index: int) -> DataError | None:
        try:
            read(index)
        except DataError as error:
            return error
        return None

    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        faults = [error for error in pool.map(fault, range(count)) if error is not None]
    if faults:
        more = f" ({len(faults) - 1} more of {count} images are broken)" if len(faults) > 1 else ""
        raise DataError(f"{faults[0]}{more}") from faults[0]
