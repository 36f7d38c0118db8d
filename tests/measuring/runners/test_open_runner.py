"""The place where a job is measured, and what is said before it is."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.config.measuring_jobs import ProfileJob
from nas.errors import TableError
from nas.measuring.effort import FORMER_PROGRAM_STATISTIC, STATISTIC
from nas.measuring.journal import Conditions
from nas.measuring.runners import open_runner as opening
from nas.measuring.runners.open_runner import check_table, open_runner
from nas.measuring.runners.request import request_of
from tests.cost.simulated_table import table_of
from tests.simulated_device import conv


@pytest.mark.parametrize(
    ("runtime", "accelerator", "is_noted"),
    [("onnxruntime", "cuda", True), ("onnxruntime", "cpu", False), ("torch-eager", "cuda", False)],
)
def test_a_runtime_that_no_gpu_has_run_is_noted_in_this_process_too(
    runtime: str, accelerator: str, is_noted: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(opening.InProcess, "of", made.append)
    job = ProfileJob(space=None, runtime=runtime, accelerator=accelerator)
    with caplog.at_level(logging.WARNING), open_runner(job, request_of(job)):
        pass
    assert [one.accelerator for one in made] == [accelerator]
    assert ("not yet run on hardware" in caplog.text) == is_noted


def test_energy_moves_a_runtime_of_both_to_the_worker() -> None:
    assert request_of(ProfileJob(space=None, runtime="onnxruntime")).in_process
    assert not request_of(ProfileJob(space=None, runtime="onnxruntime", energy=True)).in_process


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        ({"clock": "gpu-time", "cuda_graphs": True}, {"clock": "cuda-events", "cuda_graphs": True}, "clock gpu-time against cuda-"),
        ({"statistic": FORMER_PROGRAM_STATISTIC}, {"clock": "gpu-time"}, "statistic median against mean"),
        ({"clock": "gpu-time", "cuda_graphs": True}, {"clock": "gpu-time", "cuda_graphs": False}, "graphs used against not used"),
        ({"clock": "gpu-time", "cuda_graphs": True}, {"clock": "gpu-time", "cuda_graphs": True}, None),
        ({}, {"clock": "cuda-events"}, None),
    ],
)
def test_networks_are_not_judged_by_operations_that_were_timed_in_another_way(
    there: dict[str, Any], here: dict[str, Any], words: str | None
) -> None:
    table = table_of({conv(8): 1.0}, backend="tensorrt")
    table, now = (
        replace(table, protocol=replace(table.protocol, **{"statistic": STATISTIC, **protocol})) for protocol in (there, here)
    )
    runner: Any = SimpleNamespace(conditions=Conditions.of(now))
    if words is None:
        check_table(table, runner, Path("table.json"))
    else:
        with pytest.raises(TableError, match=f"in another way than networks are here: .*{words}.*; measure it again"):
            check_table(table, runner, Path("table.json"))
