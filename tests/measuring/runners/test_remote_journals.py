"""Journals lost or damaged, disks that are full, interpreters that are odd: one line each, and nothing is measured twice."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nas.cost import read_table
from nas.measuring.journal import TableJournal
from tests.conftest import Outcome
from tests.measuring.runners.remote_device import PLAN, Line, RemoteDevice, lines_of, make_board, want
from tests.measuring.runners.sshd import Sshd
from tests.simulated_device import conv


@pytest.fixture
def broken_off(board: RemoteDevice) -> list[Line]:
    """The timings of a measurement whose worker was killed; both journals hold them."""
    board.at(kill=60)
    board.stopped(1, "the same command goes on from there")
    before = lines_of(board.own_journal)
    assert before == board.journals()
    assert len(before) > 5
    return before


def test_a_folder_that_was_deleted_there_is_filled_from_the_journal_here(board: RemoteDevice, broken_off: list[Line]) -> None:
    shutil.rmtree(board.base)
    board.finished(broken_off)


def test_a_journal_that_was_deleted_here_is_fetched_from_there(board: RemoteDevice, broken_off: list[Line]) -> None:
    board.own_journal.unlink()
    board.finished(broken_off)


@pytest.mark.parametrize("own", ["whole", "deleted"])
def test_a_journal_whose_last_line_is_torn_there_loses_at_most_that_line(
    own: str, board: RemoteDevice, broken_off: list[Line]
) -> None:
    content = board.remote_journal.read_bytes()
    board.remote_journal.write_bytes(content[:-9])
    if own == "deleted":
        board.own_journal.unlink()
        board.stops += 1  # the line counts as one more sample that was wasted
    board.finished(broken_off[:-1] if own == "deleted" else broken_off)


def repeated(lines: list[str]) -> list[str]:
    sample = next(line for line in lines if '{"key"' in line)
    return [*lines, sample]


DAMAGES: dict[str, Callable[[list[str]], list[str]]] = {
    "a line that is no JSON": lambda lines: [*lines[:3], lines[3][:-20], *lines[4:]],
    "bytes that are no text": lambda lines: [*lines[:3], "\x00\x01" + lines[3], *lines[4:]],
    "a sample twice": repeated,
    "a round that there is not": lambda lines: [*lines, re.sub('"round": [0-9]+', '"round": 999', lines[-1])],
    "an operation that there is not": lambda lines: [*lines, lines[-1].replace("in=", "in=9")],
    "another reference": lambda lines: [
        lines[0],
        re.sub('"reference": "[^"]+"', f'"reference": "{PLAN[0].key}"', lines[1]),
        *lines[2:],
    ],
}


def test_a_journal_that_is_damaged_there_is_told_and_the_one_here_takes_its_place_once_it_is_deleted(
    board: RemoteDevice, broken_off: list[Line]
) -> None:
    lines, own = board.remote_journal.read_text().splitlines(), board.own_journal.read_bytes()
    for damage in DAMAGES.values():
        damaged = "".join(f"{line}\n" for line in damage(lines))
        board.remote_journal.write_text(damaged)
        board.own_journal.unlink(missing_ok=True)
        board.refused(2, "journal.jsonl is damaged (line ", "delete it there, then the same command goes on")
        assert not board.own_journal.exists()
        assert board.remote_journal.read_text() == damaged
    board.own_journal.write_bytes(own)
    board.remote_journal.unlink()
    board.finished(broken_off)


def test_a_journal_of_a_former_version_there_is_refused_until_it_is_deleted(board: RemoteDevice, broken_off: list[Line]) -> None:
    former = board.remote_journal.read_text().replace('"format_version": 2', '"format_version": 1', 1)
    board.remote_journal.write_text(former)
    board.refused(2, "journal.jsonl is of another version of segnas (format_version: got 1, expected 2); delete it there")
    assert board.remote_journal.read_text() == former
    board.remote_journal.unlink()
    board.finished(broken_off)


def test_journals_that_contradict_each_other_are_told_and_the_one_here_counts(board: RemoteDevice, broken_off: list[Line]) -> None:
    text = board.remote_journal.read_text()
    board.remote_journal.write_text(text.replace('"ms": ', '"ms": 1', 1))
    outcome = board.profile()
    assert "its journal holds other timings than that of this machine, which counts" in outcome.out
    assert board.deleted.own[: len(broken_off)] == broken_off
    assert board.deleted.own == board.deleted.remote


def test_a_journal_of_operations_that_the_table_holds_by_now_does_not_disturb_another_plan(
    board: RemoteDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash between the table and the end of its journal."""

    def crash(journal: TableJournal) -> None:
        board.deleted.own = lines_of(journal.path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TableJournal, "delete", crash)
        assert board.profile().status == 130
    first = read_table(board.table)
    assert len(first.entries) == len(PLAN)
    more = [conv(9), conv(10)]
    want(monkeypatch, [*PLAN, *more])
    outcome = board.profile()
    assert (outcome.status, outcome.err) == (0, "")
    table = read_table(board.table)
    assert set(table.entries) == {spec.key for spec in (*PLAN, *more)}
    assert {key: table.entries[key] for key in first.entries} == first.entries
    assert table.reference == first.reference
    assert not board.own_journal.exists()


def test_a_table_of_other_conditions_is_refused_before_anything_is_measured(board: RemoteDevice) -> None:
    board.finished()
    calls, content = board.num_calls, board.table.read_bytes()
    board.refused(2, "the table was measured under other conditions: protocol.rounds is 4 there and 2 now", rounds=2)
    assert (board.num_calls, board.table.read_bytes()) == (calls, content)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds the worker twice and little more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", folder], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full_when_the_worker_is_copied_is_told_and_with_room_the_command_goes_on(
    board: RemoteDevice, small_disk: Path
) -> None:
    board.lies_in(small_disk)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(460_000))
    board.refused(2, "no room: worker.py needs 0.", "make room, or name another folder: ssh.folder=")
    assert not list(board.files.iterdir())
    filler.unlink()
    board.finished()


def test_a_disk_that_becomes_full_while_the_journal_is_written_is_told_and_with_room_the_command_goes_on(
    board: RemoteDevice, small_disk: Path
) -> None:
    """A journal of more than one block."""
    board.lies_in(small_disk)
    rounds = {"rounds": 16, "max_rounds": 16}
    board.at(fill=60)
    outcome = board.stopped(2, "the journal cannot be written (No space left on device) after ", "make room there", **rounds)
    assert not board.workers()
    before = lines_of(board.own_journal)
    assert f" after {len(before)} timings, which are kept" in outcome.err
    assert before == board.journals()
    board.refused(2, "no room: worker.py needs 0.", **rounds)
    (board.files / "filler").unlink()
    assert board.profile(**rounds).status == 0
    assert board.deleted.own[: len(before)] == before
    assert board.deleted.own == board.deleted.remote
    assert {entry.n for entry in read_table(board.table).entries.values()} == {16}


def test_a_clock_that_is_wrong_there_is_told_and_changes_neither_date_nor_times(board: RemoteDevice) -> None:
    patch = "import time; now = time.time; time.time = lambda: now() - 86400"
    outcome = board.profile(ssh__python=board.interpreter("yesterday", patch=patch))
    assert (outcome.status, outcome.err) == (0, "")
    assert re.search(r": its clock is wrong by -864\d\d s; the table has the time of this machine\n", outcome.out)
    table = read_table(board.table)
    assert abs(datetime.fromisoformat(table.measured_at) - datetime.now(UTC)) < timedelta(minutes=10)
    assert all(1.0 <= line.ms < 10_000.0 for line in board.deleted.own)


ODD = {
    "an old Python": ("printf '  File \"worker.py\", line 9\\nSyntaxError: invalid syntax\\n' >&2; exit 1", "SyntaxError"),
    "Python 2": ("echo 'Unknown option: -I' >&2; exit 2", "Unknown option: -I"),
    "a program that says nothing": ("exit 3", "it said nothing"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_interpreter_that_cannot_run_the_worker_is_told(name: str, board: RemoteDevice) -> None:
    script, said = ODD[name]
    python = board.program("odd", script)
    board.refused(
        2, "the worker does not start there (status ", said, "it needs Python 3.6 or newer: ssh.python=", ssh__python=python
    )


def test_a_program_that_is_no_python_is_told(board: RemoteDevice) -> None:
    board.refused(2, "the worker does not say what it is on: ", ssh__python=board.program("echo", 'echo "$@"'))


BANNER = """
case "$SSH_ORIGINAL_COMMAND" in *sftp*) exec {sftp};; esac
echo "Welcome to the board"; echo '{{"identity": broken'; echo "[1, 2]"; printf '\\033[0mlast: '
exec sh -c "$SSH_ORIGINAL_COMMAND"
"""


def test_what_a_log_in_shell_writes_before_the_worker_does_not_disturb(
    tmp_path: Path,
    make_sshd: Callable[..., Sshd],
    run_nas: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    own_home: Path,
) -> None:
    del own_home
    server = Path("/usr/lib/openssh/sftp-server")
    if not server.exists():
        pytest.skip("no sftp-server here: apt-get install openssh-sftp-server")
    script = tmp_path / "login.sh"
    script.write_text(BANNER.format(sftp=server))
    sshd = make_sshd(config=[f"ForceCommand /bin/sh {script}"])
    for side in make_board(sshd, tmp_path, run_nas, monkeypatch):
        side.lies_in(sshd.files().parent)
        side.at(kill=60)
        side.stopped(1, "the same command goes on from there", ssh__folder=None)
        side.finished(side.journals(), ssh__folder=None)
