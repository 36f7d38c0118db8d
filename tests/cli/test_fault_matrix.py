"""Each fault of the disk or an input ends each verb in one line with the right status, and nothing is half written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault_bench import (
    COMMANDS,
    INPUT_FAULTS,
    METRICS_REMOVED,
    OUT_FAULTS,
    PART_FAULTS,
    PARTS,
    Bench,
    complaint,
    fault_folder,
    input_fault,
    left_behind,
    out_fault,
    part_fault,
)
from tests.forked_commands import ForkedCommands


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    # Not below tmp_path, which other users cannot reach.
    with tempfile.TemporaryDirectory() as folder, ForkedCommands() as commands:
        Path(folder).chmod(0o755)
        yield Bench(Path(folder).resolve(), commands)


OUT_CELLS = [(verb, fault) for verb in COMMANDS for fault in OUT_FAULTS]
OUT_CELLS += [(verb, METRICS_REMOVED) for verb, command in COMMANDS.items() if command.runs]
INPUT_CELLS = [(verb, key, fault) for verb, command in COMMANDS.items() for key in command.inputs for fault in INPUT_FAULTS]
PART_CELLS = [
    (verb, key, part, fault)
    for verb, command in COMMANDS.items()
    for key, name in command.inputs.items()
    for part in PARTS.get(name, ())
    for fault in PART_FAULTS
]
QUICK_OUT = [
    *(("predict", fault) for fault in ("read-only parent", "dangling link", "circular link", "no byte left", "quota at once")),
    ("export", "limit of 5000 bytes"),
    ("show", "circular link"),
    ("train", METRICS_REMOVED),
]
QUICK_INPUT = [("predict", "genotype", "no rights"), ("predict", "latency.table", "pipe"), ("export", "run", "circular link")]
QUICK_PARTS = [("report", "run", "config.yaml", "pipe")]


def check_out(bench: Bench, verb: str, fault: str) -> None:
    ended, out = out_fault(bench, verb, fault)
    assert complaint(ended, verb, out) is None
    assert left_behind(fault_folder(bench, verb, fault)) == []


@pytest.mark.parametrize(("verb", "fault"), QUICK_OUT)
def test_some_faults_of_out_end_in_one_line_and_leave_nothing_half_written(bench: Bench, verb: str, fault: str) -> None:
    check_out(bench, verb, fault)


@pytest.mark.parametrize(("verb", "key", "fault"), QUICK_INPUT)
def test_some_faults_of_inputs_end_in_one_line(bench: Bench, verb: str, key: str, fault: str) -> None:
    ended = input_fault(bench, verb, key, fault)
    assert complaint(ended, verb) is None
    assert ended.status == 2


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "fault"), [cell for cell in OUT_CELLS if cell not in QUICK_OUT])
def test_all_faults_of_out_end_in_one_line_and_leave_nothing_half_written(bench: Bench, verb: str, fault: str) -> None:
    check_out(bench, verb, fault)


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "key", "fault"), [cell for cell in INPUT_CELLS if cell not in QUICK_INPUT])
def test_all_faults_of_inputs_end_in_one_line(bench: Bench, verb: str, key: str, fault: str) -> None:
    ended = input_fault(bench, verb, key, fault)
    assert complaint(ended, verb) is None
    assert ended.status == 2


@pytest.mark.parametrize(("verb", "key", "part", "fault"), QUICK_PARTS)
def test_some_faults_of_files_in_runs_end_in_one_line(bench: Bench, verb: str, key: str, part: str, fault: str) -> None:
    ended, _ = part_fault(bench, verb, key, part, fault)
    assert complaint(ended, verb) is None


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "key", "part", "fault"), [cell for cell in PART_CELLS if cell not in QUICK_PARTS])
def test_all_faults_of_files_in_runs_end_in_one_line_or_are_of_no_account(
    bench: Bench, verb: str, key: str, part: str, fault: str
) -> None:
    ended, out = part_fault(bench, verb, key, part, fault)
    assert complaint(ended, verb, out) is None


@pytest.mark.parametrize("where", ["closed", "/dev/full"])
def test_an_output_that_takes_nothing_is_one_line_and_stops_no_work(bench: Bench, where: str) -> None:
    out = bench.base / f"output-{where.replace('/', '-')}"
    ended = bench.run("predict", out, stdout=where)
    assert (out / "predict.json").is_file()
    assert ended.status == 1
    assert ended.err.startswith("nas: the standard output cannot be written (")
    assert ended.err.count("\n") == 1
    assert bench.run("predict", out.with_name(f"{out.name}-err"), stderr=where).status == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user whom the machine does not know")
def test_a_user_without_a_home_folder_needs_none(bench: Bench) -> None:
    bench.base.chmod(0o777)
    unset = dict.fromkeys(("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "XDG_DATA_HOME"))
    ended = bench.run("profile import", "stranger.json", stranger=True, env=unset)
    assert ended.status == 0, ended.err
    words = [f"{key}=in/{path}" for key, path in COMMANDS["profile"].inputs.items()]
    refused = bench.commands.run(
        bench.base, "profile", *COMMANDS["bundle"].words[:2], *words, "runtime=torch-script", stranger=True, env=unset
    )
    assert refused.status == 2
    assert "set XDG_CACHE_HOME" in refused.err


@pytest.mark.slow
@pytest.mark.parametrize("after", [3, 12, 24, 48])
def test_a_training_that_met_a_full_disk_says_where_it_goes_on_and_does(bench: Bench, after: int) -> None:
    out = bench.base / f"full-after-{after}"
    ended = bench.run("train", out, failing=[errno.ENOSPC, str(out), after])
    assert complaint(ended, "train", out / "done.json") is None
    if ended.status != 0:
        assert ("goes on from step" in ended.err) == (out / "checkpoints" / "last.pt").exists()
        assert not (out / "done.json").exists()
    again = bench.run("train", out, extra=("resume=auto",))
    assert again.status == 0, again.err
    assert (out / "done.json").exists()
