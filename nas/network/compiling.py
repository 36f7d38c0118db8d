"""`trainer.compile`: training passes through torch.compile; where that fails, eager PyTorch with one line that says why."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from nas.network.network import Network
from nas.space.weights import Weights

log = logging.getLogger("nas")

COMPILER: str | Callable[..., object] = "inductor"
"""Backend of `torch.compile`."""
MAX_REASON = 200
"""Most characters of a compiler's message that the warning quotes."""


class CompiledOutputs:
    """The outputs of a network by torch.compile; eager once compiling has failed.

    Compiled at the first call, for its shapes. A failure there leaves the network as it was: what parts of the pass have done to
    batch-norm statistics is undone, and the pass is run again, eagerly.

    Args:
        network: The network; modules and state stay its own.
        mode: A mode of torch.compile.
    """

    def __init__(self, network: Network, mode: str) -> None:
        self._network, self._mode = network, mode
        self._run: Callable[..., dict[str, Tensor]] = torch.compile(
            network.eager_outputs, mode=mode, dynamic=False, backend=COMPILER if mode == "default" else "inductor"
        )
        self._called = self._failed = False

    def __call__(self, images: Tensor, weights: Weights | None, names: tuple[str, ...]) -> dict[str, Tensor]:
        """As `Network.outputs`."""
        if self._failed:
            return self._network.eager_outputs(images, weights, names)
        before = [] if self._called else [(buffer, buffer.clone()) for buffer in self._network.buffers()]
        try:
            found = self._run(images, weights, names)
        except TorchDynamoException as error:
            self._failed = True
            log.warning(
                "trainer.compile=%s: cannot compile: %s; going on without, with the same results", self._mode, reason(error)
            )
            with torch.no_grad():
                for buffer, value in before:
                    buffer.copy_(value)
            return self._network.eager_outputs(images, weights, names)
        self._called = True
        return found


def compile_training(module: nn.Module, mode: str) -> None:
    """Let all networks below a module run their training passes compiled.

    Args:
        module: What is trained.
        mode: none, or a mode of torch.compile.
    """
    if mode == "none":
        return
    for part in module.modules():
        if isinstance(part, Network):
            part.training_outputs = CompiledOutputs(part, mode)


def reason(error: BaseException) -> str:
    """The one line that says most: a compiler's first error, else the first line of what was raised first."""
    first: Any = error
    while first.__cause__ is not None:
        first = first.__cause__
    # "backend='inductor' raised:" stands above what was raised.
    lines = [line.strip() for line in str(first).splitlines() if line.strip() and not line.strip().endswith("raised:")]
    lines = lines or [type(first).__name__]
    line = next((line for line in lines if "error:" in line), lines[0])
    return line if len(line) <= MAX_REASON else f"{line[:MAX_REASON]}..."
