"""Operations and networks to be timed: always the same random weights and inputs, the latter smooth along a row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nas.network.network import Network
from nas.ops import build
from nas.ops.kinds import kind_of
from nas.ops.layer_chain import LayerChain
from nas.ops.spec import OpSpec
from nas.worker.example_values import smooth_tensor


def example_operation(spec: OpSpec, *, batch: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """An operation in evaluation mode and its inputs, each [batch, C, H, W]; PyTorch's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build(spec).eval()
    return module, tuple(smooth_tensor(torch, (batch, *shape)) for shape in kind_of(spec).input_shapes(spec))


def example_images(size: tuple[int, int], *, batch: int) -> Tensor:
    """Images [batch, 3, height, width] of normalised noise, along a row as smooth as photographs."""
    images: Tensor = smooth_tensor(torch, (batch, 3, *size))
    return images


def example_network(make: Callable[[], Network], *, size: tuple[int, int], seed: int) -> Network:
    """A network in evaluation mode with weights that follow from a seed; PyTorch's random state stays as it was.

    Where the time of an activation depends on its inputs, batch norms have the statistics of two images, so that inputs are spread
    as in a trained network. A PReLU minds signs [measured, ENet: they change after 4 numbers; trained on CamVid after 5, fresh
    after 12]. The exponential in a REU minds how far below zero its input is [measured: a fresh JetSeg AGX takes
    1.18 times as long].

    Args:
        make: Makes the network.
        size: (height, width) of the images in pixels.
        seed: Seed of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make()
        if any(_minds_values(module) for module in network.modules()):
            _settle(network, example_images(size, batch=2))
    return network.eval()


def _minds_values(module: nn.Module) -> bool:
    """Whether the time of a module depends on the values of its inputs."""
    return isinstance(module, nn.PReLU) or (isinstance(module, LayerChain) and "reu" in module.layers)


def _settle(network: nn.Module, images: Tensor) -> None:
    """Set the statistics of the batch norms to those of some images."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
