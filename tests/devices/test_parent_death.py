"""A child process whose parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.small_jobs import CHECKOUT

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is of Linux")

CHILD = "from nas.devices.parent_death import end_with_parent; end_with_parent({}); print('here', flush=True); input()"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
input()
"""


def run(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_it_ends_when_its_parent_is_killed():
    parent = run("-c", PARENT, CHILD.format("").replace("input()", "import time; time.sleep(60)"))
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert Path(f"/proc/{child}").exists()
    parent.kill()
    parent.wait()
    given_up = time.monotonic() + 20
    while is_alive(child):
        assert time.monotonic() < given_up
        time.sleep(0.02)


def test_it_ends_where_the_parent_had_ended_before():
    gone = run("-c", "")
    gone.wait()
    process = run("-c", CHILD.format(gone.pid))
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == -signal.SIGKILL


def test_it_goes_on_while_the_parent_is_there():
    process = run("-c", CHILD.format(os.getpid()))
    assert process.communicate("\n", timeout=60)[0] == "here\n"
    assert process.returncode == 0


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for somebody to read its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
