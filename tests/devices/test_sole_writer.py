"""A lock among real processes: started at the same moment, killed, forked, of another machine."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.devices import sole_writer as module
from nas.devices.sole_writer import sole_writer
from nas.errors import ConfigError
from tests.small_jobs import CHECKOUT

HOLD = """
import sys, time
from pathlib import Path
from nas.devices.sole_writer import sole_writer
from nas.errors import ConfigError
lock, start, hold_s = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
time.sleep(max(0.0, start - time.time()))
try:
    with sole_writer(lock, "search", of="the folder a", remedy="go", wait_s=0.0):
        print("held", flush=True)
        time.sleep(hold_s)
except ConfigError as error:
    print(error, flush=True)
"""
FORK = """
import os, sys, time
from pathlib import Path
from nas.devices.sole_writer import sole_writer
with sole_writer(Path(sys.argv[1]), "train", of="the folder a", remedy="go"):
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
print("given back", flush=True)
time.sleep(60)
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def lines_at_once(lock: Path, *, processes: int, hold_s: float) -> list[str]:
    """What so many processes say that want a lock at the same moment."""
    start = time.time() + 1.0
    running = [python(HOLD, lock, start, hold_s) for _ in range(processes)]
    return [process.communicate(timeout=60)[0].strip() for process in running]


def assert_one_holds(lines: list[str]) -> None:
    assert sum(line == "held" for line in lines) == 1, lines
    refused = [line for line in lines if line != "held"]
    assert all(
        line.startswith("the folder a is being written by ") and line.endswith("; wait for its end, or go") for line in refused
    )


def held(lock: Path, **rest):
    return sole_writer(lock, "train", of="the folder a", remedy="give another out=", **{"wait_s": 0.0, **rest})


def test_of_processes_that_start_at_the_same_moment_exactly_one_holds_the_lock(tmp_path):
    for number in range(3):
        assert_one_holds(lines_at_once(tmp_path / f"{number}.lock", processes=4, hold_s=1.5))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_of_many_processes_at_many_moments_exactly_one_holds_the_lock(tmp_path):
    for number in range(50):
        assert_one_holds(lines_at_once(tmp_path / f"{number}.lock", processes=6, hold_s=2.5))


def test_who_holds_it_is_said_with_process_machine_time_and_verb(tmp_path):
    with held(tmp_path / ".lock"):
        holder = json.loads((tmp_path / ".lock").read_text())
        with pytest.raises(ConfigError) as caught, held(tmp_path / ".lock"):
            pass
    assert holder["pid"] == os.getpid()
    assert str(caught.value) == (
        f"the folder a is being written by nas train (process {os.getpid()} on {socket.gethostname()}, since {holder['since']}); "
        "wait for its end, or give another out="
    )


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    lock = tmp_path / ".lock"
    process = python(HOLD, lock, 0, 60)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match=rf"nas search \(process {process.pid} on"), held(lock):
        pass
    process.kill()
    process.wait()
    assert json.loads(lock.read_text())["pid"] == process.pid
    with held(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()


def test_a_forked_child_does_not_keep_what_its_parent_gave_back(tmp_path):
    process = python(FORK, tmp_path / ".lock")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        assert process.stdout.readline() == "given back\n"
        with held(tmp_path / ".lock"):
            pass
    finally:
        process.kill()
        os.kill(child, signal.SIGKILL)


def test_it_is_waited_for(tmp_path):
    process = python(HOLD, tmp_path / ".lock", 0, 1.0)
    assert process.stdout is not None
    process.stdout.readline()
    with held(tmp_path / ".lock", wait_s=60.0):
        assert process.wait(timeout=60) == 0


def left_by(lock: Path, host: str, pid: int = 1) -> None:
    lock.write_text(json.dumps({"pid": pid, "host": host, "since": "2026-01-01T00:00:00+00:00", "verb": "train"}))


def test_a_holder_of_another_machine_has_ended_where_locks_hold_between_machines(tmp_path):
    left_by(tmp_path / ".lock", "elsewhere")
    with held(tmp_path / ".lock"):
        assert json.loads((tmp_path / ".lock").read_text())["host"] == socket.gethostname()


def test_a_holder_of_another_machine_counts_where_they_do_not_and_that_is_said(tmp_path, monkeypatch, caplog):
    lock = tmp_path / ".lock"
    monkeypatch.setattr(module, "uncertain_locks", lambda folder: "fuse.sshfs")
    left_by(lock, "elsewhere")
    with caplog.at_level(logging.WARNING), pytest.raises(ConfigError) as caught, held(lock):
        pass
    assert str(caught.value) == (
        "the folder a is being written by nas train (process 1 on elsewhere, since 2026-01-01T00:00:00+00:00); wait for its end, "
        f"or give another out=; if that process has ended, delete {lock}"
    )
    assert caplog.messages == [f"{tmp_path} lies on fuse.sshfs: nothing keeps a process of another machine from writing there, too"]
    left_by(lock, socket.gethostname())
    with held(lock):
        pass
    assert not lock.exists()


def test_where_the_system_knows_no_locks_a_process_that_is_there_counts_and_that_is_said(tmp_path, monkeypatch, caplog):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    lock = tmp_path / ".lock"
    monkeypatch.setattr(module.fcntl, "flock", flock)
    left_by(lock, socket.gethostname(), os.getppid())
    with caplog.at_level(logging.WARNING), pytest.raises(ConfigError, match=rf"process {os.getppid()} on"), held(lock):
        pass
    assert "lies on a file system without locks" in caplog.messages[0]
    left_by(lock, socket.gethostname(), 2**22 + 1)  # above the largest number of a process
    with held(lock):
        pass
    assert not lock.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": "1", "host": 1, "since": 1, "verb": 1}', "\0" * 9000])
def test_a_file_that_names_nobody_keeps_nobody_out(tmp_path, content):
    (tmp_path / ".lock").write_text(content)
    with held(tmp_path / ".lock"):
        pass


def test_what_a_holder_states_is_shown_on_one_line_and_short(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "uncertain_locks", lambda folder: "9p")
    left_by(tmp_path / ".lock", "a\n\x1b[31m" + "b" * 3000)
    with pytest.raises(ConfigError) as caught, held(tmp_path / ".lock"):
        pass
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "other").write_text("text")
    (tmp_path / ".lock").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"the folder a: \.lock cannot be written there"), held(tmp_path / ".lock"):
        pass
    assert (tmp_path / "other").read_text() == "text"


def test_a_folder_that_went_away_meanwhile_is_no_error(tmp_path):
    (tmp_path / "a").mkdir()
    with held(tmp_path / "a" / ".lock"):
        (tmp_path / "a").rename(tmp_path / "b")
