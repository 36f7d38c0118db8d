"""The survey's protocol: 100 passes after a stated warm-up, to logits, one network after another, in eager PyTorch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.devices.runtime_name import RuntimeName
from nas.errors import ConfigError
from nas.measuring.effort import Effort
from nas.measuring.runners.in_process import InProcess
from nas.measuring.runners.request import Request
from nas.measuring.runners.runner import SizedNetwork
from nas.measuring.survey_protocol import PASSES, WARMUP_PASSES, check_survey_runtime, survey_line, survey_protocol, time_survey


class Counted(nn.Module):
    """A network that notes its forward passes, and refuses to make labels."""

    def __init__(self, name: str, passes: list[str]) -> None:
        super().__init__()
        self.name, self.passes = name, passes

    def __deepcopy__(self, memo: Any) -> Counted:
        return Counted(self.name, self.passes)

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape == (1, 3, 8, 12)
        assert torch.is_inference_mode_enabled()
        self.passes.append(self.name)
        return images


def in_process(runtime: str = "torch-eager") -> InProcess:
    name = RuntimeName.parse(runtime, backends=["torch-eager"])
    return InProcess.of(Request(runtime=name, accelerator="cpu", effort=Effort(), program_effort=Effort(), in_process=True))


def test_each_network_has_its_passes_after_its_warm_up() -> None:
    passes: list[str] = []
    told: list[int] = []

    def make(name: str) -> Callable[[], Any]:
        return lambda: Counted(name, passes)

    networks = [SizedNetwork(make(name), (8, 12)) for name in "ab"]
    samples, observed = time_survey(in_process(), networks, on_pass=lambda: told.append(len(passes)))
    assert passes == ["a"] * (WARMUP_PASSES + PASSES) + ["b"] * (WARMUP_PASSES + PASSES)
    assert [len(own) for own in samples] == [PASSES, PASSES]
    assert all(ms > 0 for own in samples for ms in own)
    assert len(told) == 2 * PASSES
    assert observed.throttled == ()


@pytest.mark.parametrize("runtime", ["onnxruntime-fp32-b1-t1", "torch-eager-fp32-b2-t4", "torch-compile-fp32-b1-t1"])
def test_another_runtime_is_not_the_protocol(runtime: str) -> None:
    name = RuntimeName.from_full(runtime)
    assert name is not None
    with pytest.raises(
        ConfigError, match=f"runtime: got {runtime} with protocol=survey, .*; give torch-eager-fp32-b1-t{name.threads}"
    ):
        check_survey_runtime(name)


def test_what_the_survey_leaves_open_is_stated() -> None:
    assert str(WARMUP_PASSES) in survey_line()
    stated = survey_protocol()["left_open_by_the_survey"]
    assert {"batch size", "warm-up", "cudnn.benchmark", "auxiliary heads"} <= stated.keys()
    assert all(name in survey_line() for name in stated)
