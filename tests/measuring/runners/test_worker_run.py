"""A worker that is at the same measurement already: it is left to whoever started it, and taken over once that one has gone."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.errors import ConfigError
from nas.measuring.runners.bundle import bundle_files
from nas.measuring.runners.local_place import LocalPlace
from nas.measuring.runners.worker_run import WorkerRun, client_name
from nas.worker.graph_archive import GRAPHS_FILE
from nas.worker.rounds import Log
from tests.measuring.runners.bundles import PLAN, REFERENCE, request

pytest.importorskip("onnxruntime")

ROUNDS = 150
WANTED = request(rounds=ROUNDS, max_rounds=ROUNDS)
FILES = bundle_files(PLAN, REFERENCE, WANTED)


@pytest.fixture
def place(tmp_path: Path) -> LocalPlace:
    """A folder with the files of a measurement."""
    place = LocalPlace("place", base=tmp_path)
    for name, content in FILES.items():
        place.put(name, content)
    return place


@pytest.fixture
def client() -> Iterator[subprocess.Popen[bytes]]:
    """Stands for another nas profile, that is there until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


@contextlib.contextmanager
def worker(place: LocalPlace, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that has taken some samples there, and is halted."""
    folder = Path(place.name)
    command = [sys.executable, "-I", "worker.py", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if (folder / "journal.jsonl").read_bytes().count(b"\n") > 3:
                break
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.wait()


def measure(place: LocalPlace) -> None:
    """As another nas profile of the same measurement does."""
    run = WorkerRun(place, WANTED)
    run.measure(FILES, Log(), identity=run.identify(), on_progress=None)


def host() -> str:
    return client_name().rpartition(":")[0]


def test_a_worker_of_a_living_nas_profile_is_left_alone_and_taken_over_when_that_has_gone(
    place: LocalPlace, client: subprocess.Popen[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with worker(place, "--stream", "0", f"{host()}:{client.pid}") as process:
        with pytest.raises(ConfigError) as caught:
            measure(place)
        assert str(caught.value) == (
            f"{place.name}: process {client.pid} of this machine is at the same measurement there; wait for its end, or stop it"
        )
        assert process.poll() is None
        client.kill()
        client.wait()
        run, log = WorkerRun(place, WANTED), Log()
        identity = run.identify()
        process.send_signal(signal.SIGCONT)
        with caplog.at_level(logging.WARNING):
            run.measure(FILES, log, identity=identity, on_progress=None)
        assert process.wait(60) == 130
    assert f"the worker that {host()}:{client.pid} started is still at the same measurement there; it is stopped" in caplog.text
    there = [json.loads(line) for line in (Path(place.name) / "journal.jsonl").read_text().splitlines()[1:]]
    assert [(one.round_index, one.ms) for one in log.timings] == [(row["round"], row["ms"]) for row in there]
    assert log.num_samples == ROUNDS * len(PLAN)


def test_a_worker_that_was_started_by_hand_is_left_alone(place: LocalPlace) -> None:
    with worker(place) as process:
        with pytest.raises(ConfigError, match="a worker that was started by hand is at the same measurement there"):
            measure(place)
        assert process.poll() is None


@pytest.mark.parametrize("name", ["elsewhere:1", "{host}:{own}", "{host}:x", "nonsense"])
def test_who_is_not_seen_here_counts_as_gone(name: str, place: LocalPlace) -> None:
    """A process of another machine is not seen, and this process has no other worker there."""
    client = name.format(host=host(), own=os.getpid())
    assert WorkerRun(place, WANTED)._left_behind(client) == client


def test_graphs_that_were_replaced_in_the_place_are_put_again(place: LocalPlace) -> None:
    place.put(GRAPHS_FILE, b"other")
    wanted = request(rounds=1, max_rounds=1)
    files, log = bundle_files(PLAN, REFERENCE, wanted), Log()
    run = WorkerRun(place, wanted)
    run.measure(files, log, identity=run.identify(), on_progress=None)
    assert log.num_samples == len(PLAN)
    assert place.get(GRAPHS_FILE) == FILES[GRAPHS_FILE]
