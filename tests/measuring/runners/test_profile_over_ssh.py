"""The worker measures a device over SSH, in a subprocess here and from a bundle; the tables are of one kind."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from nas.cost import LatencyTable, read_table
from tests.conftest import Outcome
from tests.measuring.runners.remote_device import PLAN, ROUNDS, RemoteDevice, lines_of, want
from tests.simulated_device import conv

KEYS = {spec.key for spec in PLAN}
REAL = {"ssh__python": sys.executable}
"""The interpreter of these tests, with the ONNX Runtime and the PyTorch that are installed here."""
LOCAL = {"runner": "local", "host": None, "ssh__key": None, "ssh__known_hosts": None, "ssh__python": None, "ssh__folder": None}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def done(outcome: Outcome, path: Path) -> LatencyTable:
    """The table that a run wrote, which told no error."""
    assert (outcome.status, outcome.err) == (0, "")
    return read_table(path)


def assert_measured(table: LatencyTable) -> None:
    """What a table of the plan by the worker holds of this machine."""
    assert set(table.entries) == KEYS
    assert all(entry.n == ROUNDS and 0 < entry.p10_ms <= entry.median_ms <= entry.p90_ms for entry in table.entries.values())
    assert table.system["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"kernel", "machine", "model", "os"} <= set(table.system)


def test_a_device_is_measured_and_nothing_is_left_there(board: RemoteDevice) -> None:
    import onnxruntime

    table = done(board.profile(**REAL), board.table)
    assert_measured(table)
    assert (table.device.name, table.runtime.version) == ("board", onnxruntime.__version__)
    assert table.system["runtime: provider"] == "CPUExecutionProvider"
    graphs, notes = ["graphs.zip"], ["journal.jsonl", "lock", "notes.jsonl"]
    assert board.deleted.remote_names == [*graphs, "job.json", *notes, "result.json", "worker.py"]
    assert list(board.base.iterdir()) == []
    assert not board.own_journal.exists()


def test_measuring_again_measures_nothing(board: RemoteDevice) -> None:
    board.finished()
    calls, content = board.num_calls, board.table.read_bytes()
    outcome = board.profile()
    assert (outcome.status, outcome.err) == (0, "")
    assert "nothing to measure, all operations of this plan are among its 6 entries" in outcome.out
    assert (board.num_calls, board.table.read_bytes()) == (calls, content)
    assert list(board.base.iterdir()) == []


def test_another_plan_extends_the_table_at_its_level(board: RemoteDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    first = board.finished()
    board.calls.unlink()
    more = [conv(9), conv(10)]
    want(monkeypatch, [*PLAN[:3], *more])
    table = board.finished(plan=more)
    assert set(table.entries) == KEYS | {spec.key for spec in more}
    assert {key: table.entries[key] for key in KEYS} == first.entries
    assert table.reference == first.reference
    assert first.reference is not None
    assert {line.key for line in board.deleted.remote if line.is_reference} == {first.reference.key}
    operations = {line.split()[1] for line in board.calls.read_text().splitlines()}
    assert len(operations) == len(more) + 1


def test_three_ways_of_measuring_make_tables_of_one_kind(
    board: RemoteDevice, tmp_path: Path, run_nas: Callable[..., Outcome]
) -> None:
    bundled = board.profile(**LOCAL | {"runner": "bundle"}, out="bundle.zip")
    assert (bundled.status, bundled.err) == (0, "")
    with zipfile.ZipFile("bundle.zip") as archive:
        archive.extractall(tmp_path / "carried")
    assert sorted(path.name for path in (tmp_path / "carried").iterdir()) == ["README.txt", "graphs.zip", "job.json", "worker.py"]
    worker = [sys.executable, "-I", "worker.py"]
    subprocess.run(worker, cwd=tmp_path / "carried", check=True, capture_output=True, timeout=200)
    remote = done(board.profile(**REAL), board.table)
    in_process = done(board.profile(**LOCAL, out="local.json"), tmp_path / "local.json")
    carried = done(run_nas("profile", "import", "file=carried/result.json", "out=carried.json"), tmp_path / "carried.json")
    for table in (in_process, carried):
        assert table.entries.keys() == remote.entries.keys()
        assert table.protocol == remote.protocol
        assert table.runtime == remote.runtime
        assert table.device.name == "board"
        assert table.reference is not None
        assert remote.reference is not None
        assert table.reference.key == remote.reference.key
    assert_measured(carried)
    assert carried.device == remote.device
    assert carried.system == remote.system


def test_a_batch_of_two_and_two_threads_are_measured_under_their_name(board: RemoteDevice) -> None:
    name = "onnxruntime-fp32-b2-t2"
    outcome = board.profile(**REAL, runtime=name, device="auto")
    (path,) = Path("latency_tables").rglob("*.json")
    table = done(outcome, path)
    assert path.name == f"{name}.json"
    assert path.parent.name == table.device.name != "board"
    assert (table.runtime.batch, table.protocol.threads, str(table.runtime.name)) == (2, 2, name)
    assert_measured(table)


def test_a_table_goes_where_out_says(board: RemoteDevice) -> None:
    assert_measured(done(board.profile(out="my/table.json"), Path("my/table.json")))
    assert not board.table.exists()
    assert [path.name for path in Path("my").iterdir()] == ["table.json"]


DIES = """
import os, signal, time
now, left = time.perf_counter, iter(range(80))
def perf_counter():
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return now()
time.perf_counter = perf_counter
"""


def test_torchscript_is_measured_over_ssh_and_by_a_worker_here_that_goes_on_where_it_was_killed(
    board: RemoteDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    own_journal = Path("local.json.journal.jsonl")
    with monkeypatch.context() as patch:
        dying = board.interpreter("dying", patch=DIES, imitation=False)
        patch.setattr("nas.measuring.runners.local_place.sys", SimpleNamespace(executable=str(dying)))
        dead = board.profile(**LOCAL, runtime="torch-script", out="local.json")
    before = lines_of(own_journal)
    folder = tmp_path / "cache" / "segnas" / "torch-script-fp32-b1-t1"
    assert (dead.status, dead.err) == (
        1,
        f"nas profile: {folder}: the worker was ended by signal 9 after {len(before)} timings, which are kept; "
        "the same command goes on from there\n",
    )
    assert len(before) > 5
    local = done(board.profile(**LOCAL, runtime="torch-script", out="local.json"), Path("local.json"))
    assert board.deleted.own[: len(before)] == before
    remote = done(board.profile(**REAL, runtime="torch-script", out="remote.json"), Path("remote.json"))
    for table in (local, remote):
        assert_measured(table)
        assert table.runtime.version == torch.__version__
    assert (local.system, local.protocol, local.device) == (remote.system, remote.protocol, remote.device)
    assert asdict(local.runtime) == asdict(remote.runtime)
    assert list((tmp_path / "cache" / "segnas").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"runtime": "torch-eager"}, ("torch-eager", "onnxruntime, onnxruntime-tensorrt, tensorrt, torch-script")),
        ({"runtime": "onnxruntime-fp16-b1-t1"}, ("runtime: got precision 'fp16', expected fp32 with onnxruntime",)),
        ({"accelerator": "tpu"}, ("accelerator: got 'tpu', expected cpu or cuda with runtime=onnxruntime",)),
        ({"host": None}, ("host: got null with runner=ssh, expected host=[USER@]HOST[:PORT]",)),
        ({"runner": "local"}, ("host: got a value with runner=local; give runner=ssh, or leave host away",)),
        ({"runner": "local", "host": None}, ("ssh: got a value with runner=local; give runner=ssh, or leave ssh away",)),
        ({"device": "My Board"}, ("device: got 'My Board', expected auto or lower-case letters",)),
        ({"max_rounds": 999}, ("max_rounds: got 999, expected at most 200 with runtime=onnxruntime",)),
        ({"ssh__python": "-x"}, ("ssh.python: got '-x', expected the interpreter there",)),
        ({"ssh__folder": "here"}, ("ssh.folder: got 'here', expected an absolute path there",)),
        ({"ssh__python": "/no/python"}, ("/no/python cannot be executed there", "ssh.python=")),
    ],
    ids=lambda value: ",".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_a_setting_that_is_wrong_is_told_in_one_line(
    changes: dict[str, object], parts: tuple[str, ...], board: RemoteDevice
) -> None:
    board.refused(2, *parts, **changes)
    assert board.num_calls == 0


def test_a_runtime_or_an_accelerator_that_is_not_there_is_told_in_one_line(board: RemoteDevice) -> None:
    bare = board.program("bare", f'exec {sys.executable} -S "$@"')
    board.refused(2, "onnxruntime: No module named ", "; install it for this Python: pip3 install onnxruntime", ssh__python=bare)
    script = {"ssh__python": bare, "runtime": "torch-script"}
    board.refused(2, "torch-script: No module named 'torch'; install PyTorch for this Python", **script)
    board.refused(2, "has CPUExecutionProvider, expected CUDAExecutionProvider; install onnxruntime-gpu", accelerator="cuda")
    board.refused(2, "has CPUExecutionProvider, expected TensorrtExecutionProvider", runtime="onnxruntime-tensorrt")
