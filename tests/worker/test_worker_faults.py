"""A worker in a folder, on a disk or with streams that fail: one line, the right exit status, and nothing measured is lost."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.measuring.runners.bundles import PLAN, request, unpack

pytest.importorskip("onnxruntime")

COMMAND = [sys.executable, "-I", "worker.py"]
WRITTEN = ["graphs.zip", "job.json", "journal.jsonl", "lock", "notes.jsonl", "result.json", "worker.py"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("bundle") / "run", request(rounds=12, max_rounds=12))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Iterator[Path]:
    """An unpacked bundle."""
    (tmp_path / "run").mkdir()
    for path in whole.iterdir():
        (tmp_path / "run" / path.name).write_bytes(path.read_bytes())
    yield tmp_path / "run"
    (tmp_path / "run").chmod(0o755)


def work(folder: Path, *, before: Callable[[], object] | None = None, shell: str = "", **options: Any) -> Any:
    """Run the worker; its output is read where a shell does not send it elsewhere."""
    command = ["bash", "-c", f'exec "$@" {shell}', "bash", *COMMAND]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, preexec_fn=before, **options
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def samples(folder: Path) -> list[tuple[str, int]]:
    rows = [json.loads(line) for line in (folder / "journal.jsonl").read_text().split("\n")[1:-1]]
    return [(row["key"], row["round"]) for row in rows if "key" in row]


def goes_on(folder: Path) -> None:
    """With the fault gone, the same command measures the rest, each sample once, and leaves nothing else behind."""
    there = (folder / "journal.jsonl").read_bytes().rpartition(b"\n")[0] if (folder / "journal.jsonl").exists() else b""
    outcome = work(folder)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert (folder / "journal.jsonl").read_bytes().startswith(there)
    found = samples(folder)
    assert len(set(found)) == len(found) == 12 * len(PLAN)
    assert names(folder) == WRITTEN


def no_file_beyond(size: int) -> Callable[[], None]:
    """A disk on which no file can be longer."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def no_privileges() -> None:
    """Rights of files count for the system's administrator, too: without CAP_DAC_OVERRIDE, in what is started from here."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


@pytest.mark.parametrize(
    ("size", "what"),
    [
        (0, r"lock: cannot be written (File too large); make room in"),
        (80, "journal.jsonl: the journal cannot be written (No space left on device); make room there"),
        (300, "graph.onnx: cannot be written (File too large); make room in"),
        (5500, "journal.jsonl: the journal cannot be written (No space left on device) after "),
    ],
)
def test_a_full_disk_is_told_in_one_line_and_with_room_the_worker_goes_on(size: int, what: str, folder: Path) -> None:
    outcome = work(folder, before=no_file_beyond(size))
    *_, line = outcome.stdout.splitlines()
    assert (outcome.returncode, outcome.stderr) == (2, ""), outcome
    assert line.startswith("worker: ")
    assert what in line
    assert not set(names(folder)) - set(WRITTEN)
    assert "result.json" not in names(folder)
    goes_on(folder)


def test_a_disk_without_room_for_the_result_loses_no_measurement(folder: Path) -> None:
    assert work(folder).returncode == 0
    (folder / "result.json").unlink()
    outcome = work(folder, before=no_file_beyond(3000))
    assert (outcome.returncode, outcome.stderr) == (2, "")
    assert "result.json: cannot be written (File too large); make room, then run the same again: no" in outcome.stdout
    assert not set(names(folder)) - set(WRITTEN)
    goes_on(folder)


def test_a_folder_that_cannot_be_written_is_told_in_one_line(folder: Path) -> None:
    before = names(folder)
    folder.chmod(0o555)
    outcome = work(folder, before=no_privileges)
    if "lock" in names(folder):
        pytest.skip("this user writes in any folder")
    assert (outcome.returncode, outcome.stderr, len(outcome.stdout.splitlines())) == (2, "", 1)
    assert "lock: cannot be opened (Permission denied); copy the folder to a place where this user can write" in outcome.stdout
    assert names(folder) == before
    folder.chmod(0o755)
    goes_on(folder)


def test_what_stands_in_the_way_of_the_lock_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    for make in (lambda path: path.mkdir(), lambda path: os.mkfifo(path), lambda path: path.symlink_to(tmp_path / "precious")):
        make(folder / "lock")
        outcome = work(folder)
        assert (outcome.returncode, outcome.stderr, len(outcome.stdout.splitlines())) == (2, "", 1), outcome
        assert "lock: cannot be opened (" in outcome.stdout
        (folder / "lock").rmdir() if (folder / "lock").is_dir() else (folder / "lock").unlink()
    assert (tmp_path / "precious").read_text() == "mine"


def test_without_a_home_it_measures_and_takes_no_packages_from_where_it_runs(folder: Path) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    trap = folder / "~" / ".local" / "lib" / version / "site-packages"
    trap.mkdir(parents=True)
    (trap / "onnxruntime.py").write_text("raise SystemExit('taken')")
    code = (
        "import os, pwd, runpy, sys\n"
        "os.environ.pop('HOME', None)\n"
        "def none(*_): raise KeyError('no entry')\n"
        "pwd.getpwuid = none\n"
        "sys.argv = ['worker.py']\n"
        "runpy.run_path('worker.py', run_name='__main__')\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert (outcome.returncode, outcome.stderr) == (0, ""), outcome
    assert (folder / "result.json").exists()


@pytest.mark.parametrize("shell", [">&-", "<&- >&- 2>&-"])
def test_with_closed_streams_it_measures_and_writes_nothing_into_its_own_files(shell: str, folder: Path) -> None:
    outcome = work(folder, shell=shell)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")
    goes_on(folder)


def test_a_full_output_ends_it_with_one_line_on_standard_error_and_the_worker_goes_on_elsewhere(folder: Path) -> None:
    outcome = work(folder, shell="> /dev/full")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr == (
        "worker: its output cannot be written (No space left on device); what was measured is kept: give it another place, and the "
        "same command goes on from here\n"
    )
    goes_on(folder)


def test_a_refusal_is_told_on_standard_error_where_the_output_is_full(folder: Path) -> None:
    (folder / "job.json").unlink()
    outcome = work(folder, shell="> /dev/full")
    assert (outcome.returncode, outcome.stdout, len(outcome.stderr.splitlines())) == (2, "", 1)
    assert outcome.stderr.startswith("worker: ")
    assert "job.json: got no job" in outcome.stderr
    assert work(folder, shell="> /dev/full 2> /dev/full").returncode == 2


def test_files_that_a_killed_worker_left_are_deleted_by_the_next(folder: Path) -> None:
    """The worker is killed while a graph is unpacked, which a pipe in place of nothing cannot hold up: so they are put there."""
    process = subprocess.Popen(COMMAND, cwd=folder, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (folder / "graph.onnx").exists() and process.poll() is None and time.monotonic() < deadline:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    for name in ("graph.onnx", "result.json.part", "notes.jsonl.part"):
        (folder / name).write_bytes(b"part")
    goes_on(folder)
