"""Training with one image at once: which batch norm would have one value of each channel, and so no variance."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from nas.errors import ConfigError
from nas.network.network import Network
from nas.space.graph import Graph


def check_batch_of_one(graph: Graph, size: tuple[int, int]) -> None:
    """Refuse to train a network with one image at once where a batch norm reads one pixel of it.

    Ioffe, Szegedy, "Batch Normalization", ICML 2015, arXiv:1502.03167, divides by the deviation of these values.

    Args:
        graph: Of a derived network.
        size: (height, width) of the training crop in pixels.

    Raises:
        ConfigError: Naming the batch norm.
    """
    with torch.device("meta"):  # nothing is computed but shapes
        network, image = Network(graph).train(), torch.empty(1, 3, *size)
    for path, part in network.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_pre_hook(partial(_refuse_one_value, path))
    with torch.no_grad():
        network.forward_with_aux(image)


def _refuse_one_value(path: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
    if inputs[0].numel() == inputs[0].shape[1]:
        raise ConfigError(
            f"train.batch_size: got 1, and the batch norm {path} reads one pixel of an image, which has no variance; give "
            "train.batch_size=2 or more"
        )
