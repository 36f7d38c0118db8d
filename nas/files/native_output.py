"""Keeping what libraries print by themselves out of standard output and standard error, which are for results and for messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal


@contextmanager
def without_native_output(number: Literal[1, 2]) -> Iterator[None]:
    """Within the block, what compiled code writes to standard output (1) or standard error (2) is dropped."""
    (sys.stdout if number == 1 else sys.stderr).flush()
    kept, sink = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, number)
    try:
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
        os.close(sink)
