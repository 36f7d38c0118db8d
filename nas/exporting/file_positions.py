"""Networks that unpool: the positions that an ONNX file chose, given to the PyTorch network that it is compared with.

A position is a comparison of values, and values that are equal up to rounding may be compared either way, after which whole windows
differ. So the network goes on from the file's positions, and these are checked on their own: the value at each of them is, up to
rounding, the largest of its window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nas.ops.unpooling import PoolPositions, Unpool

if TYPE_CHECKING:
    from onnx import ModelProto

OPERATOR = "Where"
"""The ONNX operator whose output is the positions, and which no other operation is made of."""


def give_positions(model: ModelProto) -> list[str]:
    """Make the positions outputs of a model, in place; their names in the order of execution."""
    from onnx import ValueInfoProto

    names = [node.output[0] for node in model.graph.node if node.op_type == OPERATOR]
    model.graph.output.extend(ValueInfoProto(name=name) for name in names)
    return names


class Steered:
    """What was found while a network ran with given positions.

    Args:
        shortfall: By how much a value at a given position stays below the largest one of its window, in units of the largest
            absolute value of the map; the most of all positions.
    """

    def __init__(self) -> None:
        self.shortfall = 0.0


@contextmanager
def steered(network: object, positions: Sequence[NDArray[Any]]) -> Iterator[Steered]:
    """While this lasts, the pools of positions of a network give those of a file, [N, C, h, w] each, in the order of execution."""
    found, rest = Steered(), [torch.from_numpy(np.asarray(one, dtype=np.float32)) for one in positions]

    def replace(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        given = rest.pop(0)
        found.shortfall = max(found.shortfall, shortfall(inputs[0], given))
        return given.to(output.dtype)

    pools = [module for module in network.modules() if isinstance(module, PoolPositions)] if isinstance(network, nn.Module) else []
    assert not pools or len(pools) == len(rest)
    hooks = [module.register_forward_hook(replace) for module in pools]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def shortfall(x: Tensor, positions: Tensor) -> float:
    """By how much values at positions stay below the largest ones of their windows, in units of the largest absolute value.

    Args:
        x: [N, C, H, W].
        positions: [N, C, ceil(H / 2), ceil(W / 2)], 0 to 3.

    Returns:
        The most of all windows; inf where a position lies beyond an edge.
    """
    largest = functional.max_pool2d(x, 2, ceil_mode=True)
    ones = torch.ones_like(largest)
    chosen = functional.avg_pool2d(Unpool()(ones, positions, x) * x, 2, ceil_mode=True, divisor_override=1)
    inside = functional.avg_pool2d(Unpool()(ones, positions, x), 2, ceil_mode=True, divisor_override=1)
    if not torch.equal(inside, ones):
        return float("inf")
    return float((largest - chosen).max() / x.abs().max().clamp(min=torch.finfo(x.dtype).tiny))
