"""How calls of PyTorch are timed."""

from __future__ import annotations

import time
from types import SimpleNamespace

from nas.worker.torch_timing import timed_on_cpu, timed_on_cuda


def test_time_on_a_cpu_is_the_mean_of_the_calls() -> None:
    assert 4.0 <= timed_on_cpu(time.sleep, [0.004], 3) < 40.0


def test_cuda_time_is_taken_between_events_after_all_earlier_work() -> None:
    log: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            log.append("record")

        def synchronize(self) -> None:
            log.append("wait")

        def elapsed_time(self, end: Event) -> float:
            assert end is not self
            return 12.0

    cuda = SimpleNamespace(Event=Event, synchronize=lambda: log.append("idle"))
    assert timed_on_cuda(cuda, lambda x: log.append(f"call {x}"), [1], 4) == 3.0
    assert log == ["idle", "record", *["call 1"] * 4, "record", "wait"]
