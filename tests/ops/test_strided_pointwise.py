"""1x1 convolutions with a stride: the same values with and without gradients, and none strides where gradients are recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nas.ops.modules import FactorizedReduce, ReduceBNReLU, ReLUConvBN
from nas.ops.spec import OpSpec
from search_spaces.fasterseg.lattice.slimmable import SlimmableReduce

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


class Convolutions(TorchDispatchMode):
    """Notes kernel and stride of every convolution and of every gradient of one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.seen.append((args[1].shape[-1], args[3][0]))
        if func is torch.ops.aten.convolution_backward.default:
            self.seen.append((args[2].shape[-1], args[4][0]))
        return func(*args, **(kwargs or {}))


def spec(kind: str) -> OpSpec:
    return OpSpec(kind=kind, in_channels=6, height=9, width=8, out_channels=4, out_height=5, out_width=4, stride=2)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu_conv_bn": lambda: ReLUConvBN(spec("relu_conv_bn")),
    "factorized_reduce": lambda: FactorizedReduce(spec("factorized_reduce")),
    "reduce_bn_relu": lambda: ReduceBNReLU(spec("reduce_bn_relu")),
    "slimmable": lambda: SlimmableReduce(6, 4, channels=(4,)),
}


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("name", MODULES)
def test_only_the_pixels_that_are_read_reach_a_kernel_that_records_gradients(name: str, memory_format: str) -> None:
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    arguments = (4, 1) if name == "slimmable" else ()
    x = torch.randn(2, 6, 9, 8).contiguous(memory_format=FORMATS[memory_format])
    with torch.no_grad(), Convolutions() as without:
        wanted: Tensor = module(x, *arguments)
    with Convolutions() as recorded:
        got: Tensor = module(x.requires_grad_(), *arguments)
        got.sum().backward()
    torch.testing.assert_close(got, wanted)
    assert set(without.seen) == {(1, 2)}
    assert set(recorded.seen) == {(1, 1)}
    assert len(recorded.seen) > len(without.seen)
