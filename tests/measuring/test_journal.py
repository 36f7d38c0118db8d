"""The journal of a profile run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas.cost import ProtocolInfo, RuntimeInfo
from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import DeviceInfo
from nas.errors import TableError
from nas.measuring.effort import FORMER_PROGRAM_STATISTIC, STATISTIC
from nas.measuring.journal import Conditions, TableJournal
from nas.ops import OpSpec
from nas.worker.drift import Timing

CONDITIONS = Conditions(
    DeviceInfo(name="box"),
    RuntimeInfo.of(RuntimeName(backend="torch-eager"), version="1.0"),
    ProtocolInfo(warmup=1, rounds=2, max_rounds=4, calls="one", statistic="median", threads=1),
)
KEY = OpSpec(kind="add", in_channels=1, height=2, width=3, out_channels=1, out_height=2, out_width=3).key

REFERENCE = KEY.replace("in=1x", "in=7x")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "table.json.journal.jsonl"


def write(path: Path, *rounds: int) -> None:
    with TableJournal(path, CONDITIONS) as journal:
        for index in rounds:
            journal.record(sample(index))


def sample(index: int) -> Timing:
    return Timing(KEY, index, 0.1 + index, 3)


def timing_of_reference(index: int, ms: float = 1.0) -> Timing:
    return Timing(REFERENCE, index, ms, 2, is_reference=True)


def test_timings_are_found_again_exactly_in_order_of_time(path: Path) -> None:
    write(path, 2, 0)
    with TableJournal(path, CONDITIONS) as journal:
        journal.record(timing_of_reference(0))
        journal.record(timing_of_reference(0))
    write(path, 3)
    journal = TableJournal(path, CONDITIONS)
    assert journal.timings == [sample(2), sample(0), timing_of_reference(0), timing_of_reference(0), sample(3)]
    assert journal.keys == {KEY}
    assert (journal.num_samples, journal.samples_of(KEY), journal.samples_of(REFERENCE)) == (3, 3, 0)
    assert [journal.has(KEY, index) for index in range(4)] == [True, False, True, True]
    assert journal.reference_key == REFERENCE
    assert (journal.calls_of(KEY), journal.calls_of(REFERENCE, is_reference=True), journal.calls_of(REFERENCE)) == (3, 2, None)


def test_the_reference_operation_is_one_and_may_be_sampled_too(path: Path) -> None:
    with TableJournal(path, CONDITIONS) as journal:
        assert journal.reference_key is None
        journal.record(timing_of_reference(0))
        journal.record(Timing(REFERENCE, 0, 1.0, 2))
        with pytest.raises(ValueError, match="got reference operation 'add in=1x.* as before"):
            journal.record(Timing(KEY, 0, 1.0, 2, is_reference=True))
    text = path.read_text()
    path.write_text(text + text.splitlines()[1].replace("in=7x", "in=1x") + "\n")
    with pytest.raises(TableError, match="line 4: got reference operation"):
        TableJournal(path, CONDITIONS)


def test_a_sample_is_in_the_file_as_soon_as_it_is_recorded(path: Path) -> None:
    with TableJournal(path, CONDITIONS) as journal:
        assert not path.exists()
        journal.record(Timing(KEY, 1, 0.5, 7))
        header, line = path.read_text().splitlines()
        assert json.loads(header)["device"]["name"] == "box"
        assert json.loads(line) == {"key": KEY, "round": 1, "ms": 0.5, "calls": 7}
        journal.record(timing_of_reference(1, 0.25))
        assert json.loads(path.read_text().splitlines()[2]) == {"reference": REFERENCE, "round": 1, "ms": 0.25, "calls": 2}


@pytest.mark.parametrize("ms", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_that_cannot_be_is_not_written(ms: float, path: Path) -> None:
    with TableJournal(path, CONDITIONS) as journal, pytest.raises(RuntimeError, match="expected a finite positive time"):
        journal.record(Timing(KEY, 1, ms, 7))
    assert not path.exists()


def test_a_sample_is_taken_once(path: Path) -> None:
    write(path, 1)
    with pytest.raises(ValueError, match="round 1 .* is in the journal already"):
        write(path, 1)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_last_line_is_cut_off_before_the_next_is_written(cut: int, path: Path) -> None:
    write(path, 0, 1)
    path.write_bytes(path.read_bytes()[:-cut])
    assert TableJournal(path, CONDITIONS).timings == [sample(0)]
    write(path, 2)
    assert TableJournal(path, CONDITIONS).timings == [sample(0), sample(2)]
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("length", [0, 1, 40])
def test_a_torn_first_line_starts_over(length: int, path: Path) -> None:
    write(path, 0)
    path.write_bytes(path.read_bytes()[:length])
    write(path, 3)
    assert TableJournal(path, CONDITIONS).timings == [sample(3)]


@pytest.mark.parametrize(
    "broken",
    [
        "not json",
        "\xff",
        "[]",
        '{"key": "x", "round": 0, "ms": 1.0, "calls": 1}',
        '{"key": 3, "round": 0, "ms": 1.0, "calls": 1}',
        '{"key": KEY, "round": 0, "ms": 1.0}',
        '{"key": KEY, "round": 0, "ms": 1.0, "calls": 1, "extra": 1}',
        '{"key": KEY, "round": 0, "ms": NaN, "calls": 1}',
        '{"key": KEY, "round": 0, "ms": -1.0, "calls": 1}',
        '{"key": KEY, "round": 4, "ms": 1.0, "calls": 1}',
        '{"key": KEY, "round": -1, "ms": 1.0, "calls": 1}',
        '{"key": KEY, "round": 0, "ms": 1.0, "calls": 0}',
        '{"key": KEY, "round": 0, "round": 1, "ms": 1.0, "calls": 1}',
        '{"reference": 3, "round": 0, "ms": 1.0, "calls": 1}',
        '{"reference": "x", "round": 0, "ms": 1.0, "calls": 1}',
        '{"reference": KEY, "round": 0, "ms": 0.0, "calls": 1}',
        '{"reference": KEY, "round": 4, "ms": 1.0, "calls": 1}',
        '{"reference": KEY, "key": KEY, "round": 0, "ms": 1.0, "calls": 1}',
    ],
)
def test_a_broken_line_is_refused_with_its_number_and_nothing_is_changed(broken: str, path: Path) -> None:
    write(path, 1)
    with path.open("ab") as file:
        file.write(broken.replace("KEY", json.dumps(KEY)).encode("latin-1") + b"\n")
    before = path.read_bytes()
    with pytest.raises(TableError, match=r"journal\.jsonl: line 3: .*; delete the journal to start over") as caught:
        TableJournal(path, CONDITIONS)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_round_twice_is_refused(path: Path) -> None:
    write(path, 1)
    text = path.read_text()
    path.write_text(text + text.splitlines()[1] + "\n")
    with pytest.raises(TableError, match="line 3: round 1 of .* is in the journal already"):
        TableJournal(path, CONDITIONS)


def test_another_format_is_refused(path: Path) -> None:
    write(path, 1)
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 1'))
    with pytest.raises(TableError, match="line 1: format_version: got 1, expected 2"):
        TableJournal(path, CONDITIONS)


@pytest.mark.parametrize(
    ("now", "difference"),
    [
        (replace(CONDITIONS, device=DeviceInfo(name="phone")), "device.name is 'box' there and 'phone' now"),
        (
            replace(CONDITIONS, device=DeviceInfo(name="box", clocks="1-2 MHz")),
            "device.clocks is None there and '1-2 MHz' now",
        ),
        (replace(CONDITIONS, runtime=replace(CONDITIONS.runtime, version="2.0")), "runtime.version is '1.0' there and '2.0' now"),
        (replace(CONDITIONS, protocol=replace(CONDITIONS.protocol, warmup=2)), "protocol.warmup is 1 there and 2 now"),
    ],
)
def test_other_conditions_are_refused_with_the_difference_and_both_remedies(now: Conditions, difference: str, path: Path) -> None:
    write(path, 1)
    with pytest.raises(TableError, match="go on under those conditions, or delete the journal") as caught:
        TableJournal(path, now)
    assert difference in str(caught.value)
    assert CONDITIONS.differences(CONDITIONS) == ""


def test_an_implementation_differs_only_from_another_that_is_stated(path: Path) -> None:
    write(path, 1)
    stated = replace(CONDITIONS, protocol=replace(CONDITIONS.protocol, implementation="nas.worker 2"))
    assert TableJournal(path, stated).timings == [sample(1)]
    other = replace(CONDITIONS, protocol=replace(CONDITIONS.protocol, implementation="nas.worker 3"))
    assert stated.differences(other) == "protocol.implementation is 'nas.worker 2' there and 'nas.worker 3' now"


def test_a_clock_differs_from_the_one_that_a_former_version_used() -> None:
    def by(clock: str | None, backend: str, statistic: str = STATISTIC) -> Conditions:
        runtime = RuntimeInfo.of(RuntimeName(backend=backend), version="1.0")
        return Conditions(CONDITIONS.device, runtime, replace(CONDITIONS.protocol, statistic=statistic, clock=clock))

    assert by(None, "onnxruntime").differences(by("wall", "onnxruntime")) == ""
    assert by(None, "torch-eager").differences(by("cuda-events", "torch-eager")) == ""
    assert by(None, "tensorrt").differences(by("cuda-events", "tensorrt")) == ""
    other = by(None, "tensorrt").differences(by("gpu-time", "tensorrt"))
    assert other == "protocol.clock is 'cuda-events' there and 'gpu-time' now"
    former = by(None, "tensorrt", FORMER_PROGRAM_STATISTIC).differences(by("gpu-time", "tensorrt"))
    assert "is the median of its calls' there and " in former
    assert former.endswith("is the mean of its calls' now")


def test_cuda_graphs_differ_where_both_state_them() -> None:
    used, unused = (replace(CONDITIONS, protocol=replace(CONDITIONS.protocol, cuda_graphs=value)) for value in (True, False))
    assert used.differences(unused) == "protocol.cuda_graphs is True there and False now"
    assert used.differences(CONDITIONS) == ""


FORMER = """\
{"format_version": 2, "device": {"name": "box", "power_mode": null, "clocks": null}, "runtime": {"name": "torch-eager-fp32-b1-t1", \
"backend": "torch-eager", "version": "1.0", "precision": "fp32", "batch": 1, "threads": 1}, "protocol": {"warmup": 1, "rounds": 2, \
"calls": "one", "statistic": "median", "threads": 1, "max_rounds": 4, "ci": 0.02, "reference": "none"}}
{"reference": "add in=7x2x3 out=1x2x3 k=1 s=1 d=1 g=1", "round": 0, "ms": 0.5, "calls": 2}
{"key": "add in=1x2x3 out=1x2x3 k=1 s=1 d=1 g=1", "round": 0, "ms": 0.1, "calls": 3}
"""
"""As the version wrote it whose journals were not the worker's."""


def test_the_journal_of_a_former_version_goes_on(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(FORMER)
    with TableJournal(path, CONDITIONS) as journal:
        assert journal.timings == [timing_of_reference(0, 0.5), sample(0)]
        journal.record(sample(1))
    assert path.read_text().startswith(FORMER)


def test_a_deleted_journal_starts_over(path: Path) -> None:
    write(path, 1)
    TableJournal(path, CONDITIONS).delete()
    assert TableJournal(path, CONDITIONS).timings == []
