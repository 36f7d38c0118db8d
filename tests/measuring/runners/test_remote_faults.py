"""What breaks while a device is measured over SSH ends with one line; the same command goes on and repeats and loses nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from nas.measuring.runners.ssh.remote_place import SshPlace
from nas.measuring.runners.worker_run import WorkerRun
from tests.measuring.runners.remote_device import PLAN, RemoteDevice, lines_of, want
from tests.measuring.runners.sshd import alive, make_key, wait_for
from tests.simulated_device import conv
from tests.small_jobs import CHECKOUT

GOES_ON = "the same command goes on from there"


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a silent connection be given up within two seconds."""
    monkeypatch.setattr(SshPlace.__init__, "__kwdefaults__", {"keepalive_s": 0.4})


def test_a_wrong_host_key_or_user_stops_before_anything_is_sent_and_with_the_right_one_the_command_goes_on(
    own_board: RemoteDevice, tmp_path: Path
) -> None:
    sshd = own_board.sshd
    own_board.at(kill=60)
    own_board.stopped(1, GOES_ON)
    before = own_board.journals()
    sshd.trust(" ".join(Path(f"{make_key(tmp_path / 'other')}.pub").read_text().split()[:2]))
    own_board.refused(2, "holds another key for it; somebody may be in between")
    sshd.trust(sshd.host_key)
    own_board.refused(2, "the user 'nobody' was refused", host=f"nobody@127.0.0.1:{sshd.port}")
    assert own_board.journals() == before
    own_board.finished(before)


def test_a_worker_that_is_killed_is_told_with_what_is_kept(board: RemoteDevice) -> None:
    board.at(kill=60)
    outcome = board.stopped(1, "the worker was ended by signal 9 after", GOES_ON)
    before = board.journals()
    assert f" after {len(before)} timings, which are kept" in outcome.err
    assert len(before) > 5
    board.finished(before)


def test_a_connection_that_is_cut_goes_on_with_what_the_device_measured_in_between(board: RemoteDevice) -> None:
    board.at(cut=60)
    board.stopped(1, "the connection broke off (", GOES_ON)
    wait_for(lambda: not board.workers())
    before, own = board.journals(), lines_of(board.own_journal)
    assert len(before) > len(own) > 5
    board.finished(before)


def test_a_measurement_that_is_broken_off_again_and_again_at_random_points_loses_and_repeats_nothing(
    board: RemoteDevice,
) -> None:
    draw = random.Random(58)
    seen = [board.journals()]
    for _ in range(6):
        board.at(**{draw.choice(["cut", "kill"]): draw.randrange(15, 45)})
        board.stopped(1, GOES_ON)
        wait_for(lambda: not board.workers())
        seen.append(lines_of(board.own_journal))
        assert seen[-1][: len(seen[-2])] == seen[-2]
    board.finished(*seen)


def test_a_network_that_goes_silently_is_given_up_and_its_worker_is_taken_over(
    board: RemoteDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    (board.folder / "hold").touch()
    board.at(stop_and_hold=60)
    board.stopped(1, "the connection broke off (", GOES_ON)
    (old,) = board.workers()
    before = board.journals()
    board.finished(before)
    wait_for(lambda: not alive(old))


def test_what_a_worker_left_behind_measures_until_it_is_taken_over_counts(
    board: RemoteDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on between the moment when its journal is read and the moment when it is stopped."""
    impatient(monkeypatch)
    (board.folder / "hold").touch()
    board.at(stop_and_hold=60, hold=100)
    board.stopped(1, "the connection broke off (", GOES_ON)
    before, meet = board.journals(), WorkerRun._meet

    def meet_and_let_go_on(*arguments: Any, **named: Any) -> Any:
        met = meet(*arguments, **named)
        (board.folder / "hold").rename(board.folder / "on_hold")
        wait_for(lambda: len(board.remote_journal.read_text().splitlines()) > len(before) + 2)
        (board.folder / "on_hold").rename(board.folder / "hold")
        return met

    monkeypatch.setattr(WorkerRun, "_meet", meet_and_let_go_on)
    board.finished(before)


WIDE = """
class Wide:
    def __init__(self, stream):
        self.fileno, self.flush, self._write = stream.fileno, stream.flush, stream.write
    def write(self, text):
        self._write(text.rstrip("\\n") + " " * 30000 + "\\n")
sys.stdout = Wide(sys.stdout)
"""


def test_a_worker_left_behind_that_waits_for_ever_to_be_heard_is_taken_over(
    board: RemoteDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes its output from the pipe, which is full after some lines."""
    impatient(monkeypatch)
    wide = board.interpreter("wide", patch=WIDE)
    board.at(stop=60)
    board.stopped(1, "the connection broke off (", GOES_ON, ssh__python=wide)
    before = board.journals()
    assert len(before) > 5
    assert len(board.workers()) == 1
    board.finished(before)


def test_a_worker_at_another_job_is_left_alone(board: RemoteDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    (board.folder / "hold").touch()
    board.at(stop_and_hold=60)
    board.stopped(1, "the connection broke off (", GOES_ON)
    (old,) = board.workers()
    before = board.journals()
    hidden = board.own_journal.rename(board.own_journal.with_suffix(".hidden"))
    want(monkeypatch, [conv(9), conv(10)])
    board.refused(2, "another measurement is running there; wait for its end, or give another folder: ssh.folder=")
    assert board.workers() == [old]
    hidden.rename(board.own_journal)
    want(monkeypatch, PLAN)
    board.finished(before)
    wait_for(lambda: not alive(old))


COMMAND = """
import sys
from nas.cli.command_line import main
from nas.space.capabilities import LatencyObjective
from tests.measuring.runners.remote_device import PLAN
LatencyObjective.plan = lambda space, deployment: PLAN
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_stops_the_worker_there_and_the_same_command_goes_on(board: RemoteDevice, tmp_path: Path) -> None:
    (board.folder / "hold").touch()
    board.at(hold=60)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(COMMAND), *board.arguments()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for((board.folder / "held").exists, seconds=60.0)
    (worker,) = board.workers()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "nas profile: interrupted\n")
    wait_for(lambda: not alive(worker))
    board.stops += 1
    before = board.journals()
    assert len(before) > 5
    board.finished(before)
