"""Steps of official checkouts that the user has. Importing one runs its code: only when the user names it, in a process of its own.

No line of theirs is here, only the names of what they offer. A driver states what it has to adapt for that code to run at all.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

WEIGHT_LR, MOMENTUM, WEIGHT_DECAY = 0.025, 0.9, 1e-3
"""SGD of the weights, as our own step has it."""
ARCH_LR, ARCH_BETAS, ARCH_WEIGHT_DECAY = 1e-3, (0.5, 0.999), 1e-4
"""Adam of the architecture parameters, as our own step has it."""
GRAD_CLIP = 5.0
"""Largest norm of the gradient of the weights, as our own step has it."""
POOL_PX = 49
"""Side of the official LR-ASPP's pooling kernel at stride 16."""


class SqueezeNASStepper:
    """A step of the small supernet of the official SqueezeNAS repository: cross-entropy with cost, backward pass, both optimisers.

    Adapted, without touching the files: `torch.nn.Sequential` can be subscripted while the search modules are imported, which a
    type hint of theirs does; the names of the candidates that the search module asks for are given to those that the operations
    module has; the decoder's pooling kernel is clamped to the map, which is smaller than it below 784 pixels a side; costs are set
    to numbers that differ, for they stay zero there.

    Args:
        path: The checkout.
        images: [N, 3, H, W]; H and W divisible by 16, W not below H.
        labels: [N, H, W].
        num_classes: Number of classes.
    """

    SPACE = "squeezenas_small"

    def __init__(self, path: Path, *, images: Tensor, labels: Tensor, num_classes: int) -> None:
        self._images, self._labels = images, labels
        self._supernet = _squeezenas(path, num_classes)
        height, width = (side // 16 for side in images.shape[2:])
        self._supernet.decoder.avgpool.kernel_size = (min(POOL_PX, height), min(POOL_PX, width))
        weights = list(self._supernet.get_named_model_params().values())
        logits = list(self._supernet.get_named_arch_params().values())
        self._weights = weights
        self._optimizers = _optimizers(weights, logits)
        self._supernet.train()

    @staticmethod
    def refusal(height: int, width: int) -> str | None:
        """Why it does not run at a size in pixels; None: it does."""
        if height % 16 or width % 16:
            return "its decoder wants sides that 16 divides"
        return "it wants a width not below the height" if width < height else None

    def step(self) -> None:
        """Take one step."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        self._supernet(self._images, self._labels)["loss"].backward()
        nn.utils.clip_grad_norm_(self._weights, GRAD_CLIP)
        for optimizer in self._optimizers:
            optimizer.step()

    def constants(self) -> Iterable[Tensor]:
        """Parameters and buffers of the supernet."""
        return [*self._supernet.parameters(), *self._supernet.buffers()]


PEERS: dict[str, type[SqueezeNASStepper]] = {"squeezenas": SqueezeNASStepper}
"""Name of an official repository -> what takes its step."""

FILES = {"squeezenas": "search/model_search_cityscapes.py"}
"""Name of an official repository -> a file by which a checkout of it is known."""


def _squeezenas(path: Path, num_classes: int) -> Any:  # noqa: ANN401  a class of the checkout
    """The small supernet of the checkout, with 1e-4 times a made-up cost in its loss."""
    sys.path.insert(0, str(path))
    operations = importlib.import_module("arch.operations")
    _name_candidates(operations.Ops)
    modules = _importing(lambda: importlib.import_module("search.model_search_cityscapes"))
    settings = importlib.import_module("arch.hyperparameters").get_cityscapes_hyperparams_small(
        1.0, num_classes, skip_output_block_index=7
    )
    supernet = modules.SuperNetworkSqueezeNASNetCityscapes(settings, 1e-4)
    for module in supernet.modules():
        if hasattr(module, "ops_cost"):
            module.ops_cost.copy_(torch.arange(len(module.ops_cost)))
    return supernet


def _importing(load: Callable[[], Any]) -> Any:  # noqa: ANN401  a module of the checkout
    """Import with `torch.nn.Sequential[...]` allowed, which means the class itself."""
    subscript = "__class_getitem__"
    present = hasattr(nn.Sequential, subscript)
    if not present:
        setattr(nn.Sequential, subscript, classmethod(lambda cls, item: cls))
    try:
        return load()
    finally:
        if not present:
            delattr(nn.Sequential, subscript)


def _name_candidates(operations: Any) -> None:  # noqa: ANN401  an enumeration of the checkout
    """Give the candidates the names that the search module has for them, where the enumeration has others."""
    for name, candidate in dict(operations.__members__).items():
        alias = name.replace("inverse_residual_", "mobile_net_") if name != "residual_skipish" else f"mobile_net_{name}"
        if alias not in operations.__members__:
            setattr(operations, alias, candidate)


def _optimizers(weights: list[nn.Parameter], logits: list[nn.Parameter]) -> tuple[torch.optim.Optimizer, ...]:
    return (
        torch.optim.SGD(weights, lr=WEIGHT_LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY),
        torch.optim.Adam(logits, lr=ARCH_LR, betas=ARCH_BETAS, weight_decay=ARCH_WEIGHT_DECAY),
    )
