"""What the host says that the worker can run."""

from __future__ import annotations

import pytest

from nas.devices.runtimes import WORKER_RUNTIMES, hardware_note
from nas.measuring.runners.bundle import NEEDS
from nas.worker.interface import Setup, WorkerError
from nas.worker.main import RUNTIMES


def test_host_and_worker_know_the_same_runtimes() -> None:
    assert set(WORKER_RUNTIMES) == set(RUNTIMES) == set(NEEDS)


@pytest.mark.parametrize("backend", [name for name in RUNTIMES if name != "tensorrt"])
def test_a_precision_that_the_host_does_not_list_is_refused_by_the_worker(backend: str, tmp_path) -> None:
    wrong = next(name for name in ("int8", "bf16") if name not in WORKER_RUNTIMES[backend].precisions)
    with pytest.raises(WorkerError, match=wrong):
        RUNTIMES[backend](Setup(wrong, 1, WORKER_RUNTIMES[backend].accelerators[0], str(tmp_path)))


def test_what_needs_a_gpu_is_said_not_to_have_run_on_hardware() -> None:
    for backend, runtime in WORKER_RUNTIMES.items():
        for accelerator in runtime.accelerators:
            note = hardware_note(backend, accelerator)
            assert (note is None) == (accelerator == "cpu")
            assert note is None or (backend in note and "not yet run on hardware" in note)
