"""The lock of a worker's folder on a disk without room."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from nas.worker.interface import WorkerError
from nas.worker.lock import busy_with, sole_worker
from tests.small_jobs import CHECKOUT


def test_a_disk_without_room_for_the_lock_is_told_in_one_line_and_with_room_it_is_held(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: writing fails with an OSError either way."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    lock = sole_worker(str(tmp_path), "a job")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        with pytest.raises(WorkerError) as caught:
            lock.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value) == f"{tmp_path}/lock: cannot be written (File too large); make room in {tmp_path}"
    with sole_worker(str(tmp_path), "a job"):
        assert (tmp_path / "lock").read_text().endswith(" a job -\n")


HOLD = """
import sys
sys.argv[0] = "worker.py"
from nas.worker.lock import sole_worker
with sole_worker(sys.argv[1], "a-job", client=sys.argv[2]):
    print("held", flush=True)
    input()
"""


@pytest.mark.parametrize("replaced", [None, "-", "here:2"])
def test_a_worker_at_the_same_job_is_left_alone_unless_its_client_is_named(tmp_path: Path, replaced: str | None) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), "here:1"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert busy_with(str(tmp_path)) == ("a-job", "here:1")
    with pytest.raises(WorkerError, match=f"process {process.pid} is measuring there"):
        sole_worker(str(tmp_path), "a-job", client="here:3", replaced=replaced).__enter__()
    assert process.poll() is None
    process.communicate("\n", timeout=60)
    assert process.returncode == 0
