"""Residual trunks, against the same blocks in plain PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.network.network import Network
from nas.space.graph import NetworkBuilder
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.trunks import bottleneck, resnet, resnet_stem
from tests.random_weights import as_if_trained

ACTIVATIONS = {"relu": functional.relu, "leaky": functional.leaky_relu}


def normed(part: nn.Module, x: Tensor, *, stride: int = 1) -> Tensor:
    """Convolution and batch norm, from their tensors."""
    kernel = part.conv.weight
    x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
    return functional.batch_norm(x, part.bn.running_mean, part.bn.running_var, part.bn.weight, part.bn.bias)


@pytest.mark.parametrize(("activation", "sums"), [("relu", None), ("leaky", None), ("leaky", "relu")])
def test_blocks_add_their_input_and_halve_the_size_where_a_stage_begins_with_a_stride(activation: str, sums: str | None):
    net = Layers(builder := NetworkBuilder((33, 49), {}, {}), num_classes=3)
    stem = resnet_stem(net, "stem", net.image, activation=activation)
    first, second = resnet(net, stem, (2, 1), strides=(2, 1), channels=(64, 8), activation=activation, sums=sums, part="trunk")
    network = Network(builder.finish(sum=first.sum, logits=second.out))
    as_if_trained(network, 0)
    act = ACTIVATIONS[activation]
    images = torch.randn(2, 3, 33, 49)
    x = functional.max_pool2d(act(normed(network.stem.conv, images, stride=2)), 3, 2, 1)
    stages = network.trunk.get_submodule("1"), network.trunk.get_submodule("2")
    blocks = stages[0].get_submodule("0"), stages[0].get_submodule("1"), stages[1].get_submodule("0")
    totals = []
    for block, stride in zip(blocks, (2, 1, 1), strict=True):
        y = normed(block.conv2, act(normed(block.conv1, x, stride=stride)))
        totals.append(y + (normed(block.shortcut, x, stride=stride) if hasattr(block, "shortcut") else x))
        x = ACTIVATIONS[sums or activation](totals[-1])
    assert [hasattr(block, "shortcut") for block in blocks] == [True, False, True]
    with torch.no_grad():
        outputs = network.forward_with_aux(images)
    assert torch.allclose(outputs["sum"], totals[1], rtol=1e-4, atol=1e-4)
    assert torch.allclose(outputs["logits"], x, rtol=1e-4, atol=1e-4)
    assert x.shape == (2, 8, 5, 7)


def test_a_bottleneck_widens_behind_its_3x3():
    net = Layers(builder := NetworkBuilder((9, 13), {}, {}), num_classes=3)
    block = bottleneck(net, "block", net.image, 4, expansion=3, stride=2)
    network = as_if_trained(Network(builder.finish(sum=block.sum, logits=block.out)))
    images = torch.randn(2, 3, 9, 13)
    block = network.block
    y = normed(block.conv2, functional.relu(normed(block.conv1, images)), stride=2)
    total = normed(block.conv3, functional.relu(y)) + normed(block.shortcut, images, stride=2)
    with torch.no_grad():
        outputs = network.forward_with_aux(images)
    assert total.shape == (2, 12, 5, 7)
    assert torch.allclose(outputs["sum"], total, rtol=1e-4, atol=1e-4)
    assert torch.equal(outputs["logits"], outputs["sum"].relu())
