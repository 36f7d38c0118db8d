"""Golden tests: what the commands do today, to the last bit, so that moving code about is seen to change nothing.

They know the command line, the files that it writes and the public functions of `import nas`, and no module inside. `expected/`
holds one file of values for each test module, `texts/` what commands print, `before/` what an earlier version wrote and the present
one must still read.

Values are compared exactly where CPU, PyTorch and NumPy are those that they were made with (`fingerprint` in each file), elsewhere
to 1e-3 and without hashes, which `test_golden_machine.py` then says by being skipped.

A change that is meant to change results writes them anew, one module or all, and shows the difference in its commit:

    OMP_NUM_THREADS=1 GOLDEN_WRITE=1 python -m pytest tests/golden

Values of tests that are gone are dropped by deleting the file first. `before/` is never written anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.golden.stored import EXPECTED, Stored, check_text

WRITE = os.environ.get("GOLDEN_WRITE") == "1"


def pytest_configure(config: pytest.Config) -> None:
    if WRITE and hasattr(config, "workerinput"):
        raise pytest.UsageError("GOLDEN_WRITE=1: got several processes, expected one; leave -n out")


@pytest.fixture(autouse=True)
def _no_pictures_of_searches() -> None:
    """Nothing: reports are golden, too."""


@pytest.fixture(autouse=True)
def _scenes_drawn_once() -> None:
    """Nothing: each run draws its own."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums are split over threads, and so their last bits depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def stored(request: pytest.FixtureRequest) -> Iterator[Stored]:
    values = Stored(EXPECTED / f"{Path(request.path).stem}.json", write=WRITE)
    yield values
    if WRITE:
        values.save()


@pytest.fixture
def golden(stored: Stored) -> Callable[..., None]:
    """Compares plain data with what is stored under a name; see `Stored.check`."""
    return stored.check


@pytest.fixture
def golden_text() -> Callable[[str, str], None]:
    """Compares a text with the file of that name."""
    return lambda name, text: check_text(name, text, write=WRITE)
