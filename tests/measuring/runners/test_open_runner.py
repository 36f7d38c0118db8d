"""The place where a job is measured, and what is said before it is."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from nas.config.jobs import ProfileJob
from nas.measuring.runners import open_runner as opening
from nas.measuring.runners.open_runner import open_runner
from nas.measuring.runners.request import request_of


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
