"""The lock of a worker's folder on a disk without room."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from nas.worker.interface import WorkerError
from nas.worker.lock import sole_worker


def test_a_disk_without_room_for_the_lock_is_told_in_one_line_and_with_room_it_is_held(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: writing fails with an OSError either way."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    lock = sole_worker(str(tmp_path), "a job", take_over=True)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        with pytest.raises(WorkerError) as caught:
            lock.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value) == f"{tmp_path}/lock: cannot be written (File too large); make room in {tmp_path}"
    with sole_worker(str(tmp_path), "a job", take_over=True):
        assert (tmp_path / "lock").read_text().endswith(" a job\n")
