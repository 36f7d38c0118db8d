"""The protocol of "On Efficient Real-Time Semantic Segmentation: A Survey" (Holder and Shafique): the mean of 100 passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from nas.devices.runtime_name import RuntimeName
from nas.errors import ConfigError
from nas.measuring.backends.torch_modules import TorchModules
from nas.measuring.runners.in_process import InProcess
from nas.measuring.runners.runner import Observed, SizedNetwork

PASSES = 100
"""Forward passes whose mean counts (survey, section V)."""
WARMUP_PASSES = 10
"""Forward passes before those [ours; the survey does not say]."""


def check_survey_runtime(runtime: RuntimeName) -> None:
    """Refuse a runtime that the protocol does not have: it is eager PyTorch, fp32, and one image [batch: ours].

    Raises:
        ConfigError: If it is another one.
    """
    if (runtime.backend, runtime.precision, runtime.batch) != ("torch-eager", "fp32", 1):
        raise ConfigError(
            f"runtime: got {runtime} with protocol=survey, which is eager PyTorch in fp32 with one image; give "
            f"torch-eager-fp32-b1-t{runtime.threads}, or protocol=rounds"
        )


def time_survey(
    runner: InProcess, networks: Sequence[SizedNetwork], *, on_pass: Callable[[], None]
) -> tuple[list[tuple[float, ...]], Observed]:
    """Time networks one after another by the survey's protocol.

    Args:
        runner: This process, with eager PyTorch.
        networks: The networks.
        on_pass: Called after each forward pass on a CPU, and as often at once after those on a GPU.

    Returns:
        For each network what its forward passes took in ms: each of them on a CPU, their mean on a GPU, which runs them without
        waiting in between.
    """
    backend = runner.backend
    assert isinstance(backend, TorchModules)
    check_survey_runtime(backend.runtime)
    samples, watch = [], runner.watch()
    with backend.measuring():
        for network in networks:
            run = backend.prepare_forward(network.make(), size=network.size)
            run(WARMUP_PASSES)
            calls = 1 if backend.cuda_graphs is None else PASSES
            own = []
            for _ in range(PASSES // calls):
                own.append(run(calls))
                for _ in range(calls):
                    on_pass()
            samples.append(tuple(own))
            watch.look()
    return samples, watch.observed()


def survey_protocol() -> dict[str, Any]:
    """What the protocol says, and what was chosen where it is silent."""
    return {
        "name": "survey",
        "source": "Holder and Shafique, On Efficient Real-Time Semantic Segmentation: A Survey",
        "passes": PASSES,
        "statistic": "mean of the forward passes",
        "timed": "the forward pass of a random tensor that is on the device already, in fp32, by eager PyTorch",
        "left_open_by_the_survey": {
            "batch size": "1",
            "warm-up": f"{WARMUP_PASSES} forward passes",
            "resize of the logits to the size of the image": "timed",
            "choice of a label (argmax)": "not timed",
            "auxiliary heads": "not run",
            "gradients": "inference mode",
            "order": "one network after another",
            "cudnn.benchmark": str(torch.backends.cudnn.benchmark).lower(),
            "TF32 in convolutions on a GPU": str(torch.backends.cudnn.allow_tf32).lower(),
            "power mode": "as it is, see device",
        },
    }


def survey_line() -> str:
    """The same in a line for the terminal."""
    chosen = ", ".join(f"{name}: {choice}" for name, choice in survey_protocol()["left_open_by_the_survey"].items())
    return f"survey's protocol: mean of {PASSES} forward passes of a random tensor, fp32, eager PyTorch; it leaves open {chosen}"
