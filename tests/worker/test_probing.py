"""How facts about a machine are read."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from nas.worker import probing
from nas.worker.probing import first_line_of_tool, probe_paths, read_probe, read_probe_number, run_tool
from tests.worker.fake_device import plant


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a shell script on the PATH; returns its name."""

    def write(body: str) -> str:
        path = tmp_path / "bin" / "probe-program"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
        return path.name

    return write


def is_running(pid: int) -> bool:
    """Whether a process runs: one that has ended and waits for its parent does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(pid: int) -> bool:
    for _ in range(200):
        if not is_running(pid):
            return True
        time.sleep(0.05)
    return False


def test_text_and_numbers_are_read_below_the_root(tmp_path: Path) -> None:
    root = plant(tmp_path, {"a": "Board\0", "b": "  ", "c": "-256000", "d": "12 kHz", "e/f": 1})
    assert read_probe(root, "a") == "Board"
    assert read_probe(root, "b") is None
    assert read_probe(root, "e") is None
    assert read_probe(root, "missing") is None
    assert [read_probe_number(root, name) for name in "abcd"] == [None, None, -256000, None]


def test_paths_are_relative_and_in_order_of_their_numbers(tmp_path: Path) -> None:
    root = plant(tmp_path / "odd [root]", {f"sys/cpu{index}/x": 1 for index in (10, 2, 1)})
    assert probe_paths(root, "sys/cpu[0-9]*/x") == ["sys/cpu1/x", "sys/cpu2/x", "sys/cpu10/x"]
    assert probe_paths(root, "sys/none*") == []
    assert probe_paths("/", "proc/self/stat") == ["proc/self/stat"]


def test_program_gives_its_output_in_plain_english(program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert run_tool([program('echo "$1 $LC_ALL"; echo noise >&2'), "one two"]) == "one two C\n"


def test_program_that_is_absent_or_fails_gives_none(program, tmp_path: Path) -> None:
    assert run_tool(["no-such-program-anywhere"]) is None
    assert run_tool([program("echo half; exit 3")]) is None
    (tmp_path / "bin" / "probe-program").write_bytes(b"\x7fELF nonsense")
    assert run_tool(["probe-program"]) is None


def test_program_that_hangs_is_stopped_with_what_it_started(program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "TOOL_SECONDS", 2.0)
    pids = tmp_path / "pids"
    assert run_tool([program(f'sleep 300 & echo "$!" > {pids}; echo $$ >> {pids}; wait')]) is None
    assert all(ends(int(pid)) for pid in pids.read_text().split())


def test_first_line_is_returned_and_the_program_stopped(program, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    name = program(f'echo $$ > {pids}; echo "RAM $1"; while true; do echo more; sleep 0.1; done')
    assert first_line_of_tool([name, "1/2MB"]) == "RAM 1/2MB"
    assert ends(int(pids.read_text()))


def test_no_first_line_is_none(program, monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_line_of_tool(["no-such-program-anywhere"]) is None
    assert first_line_of_tool([program("printf 'no end of line'")]) is None
    monkeypatch.setattr(probing, "TOOL_SECONDS", 0.3)
    assert first_line_of_tool([program("exec sleep 300")]) is None
