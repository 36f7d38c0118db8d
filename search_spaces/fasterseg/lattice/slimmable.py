"""Slimmable operators: weights at full width of which a pass uses the first channels.

A convolution uses its first filters and their first input channels. A batch norm has parameters and statistics of its own for each
width of its output.

Yu, Yang, Xu, Yang, Huang, "Slimmable Neural Networks", ICLR 2019, arXiv:1812.08928, as FasterSeg's supernet uses them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.network.mixed import per_image
from nas.ops.modules import fan_out_init, pixels_read
from nas.ops.zoomed_specs import half_size
from nas.space.graph import Node
from nas.space.weights import Weights
from search_spaces.fasterseg.lattice.lattice_choices import LATTICE_OPS

Stack = list[Tensor]
"""Maps of one shape that the same weights are applied to, each normalised by itself."""


class SlimmableConv(nn.Module):
    """Slimmable convolution without bias: y = W[:o, :i] * x, of W the first o filters and their first i input channels.

    Yu et al., "Slimmable Neural Networks", ICLR 2019, arXiv:1812.08928. Padding leaves ceil(size / stride) pixels.

    Args:
        in_channels: Of the full convolution.
        out_channels: Of the full convolution.
        kernel: Side of the kernel.
        stride: 1 or 2.

    Shapes:
        [N, i, H, W] -> [N, o, ceil(H / stride), ceil(W / stride)].
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int = 1) -> None:
        super().__init__()
        full = nn.Conv2d(in_channels, out_channels, kernel, bias=False)
        fan_out_init(full)
        self.weight = full.weight
        self.stride, self.padding = stride, kernel // 2

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        """[N, Cin used, H, W] -> [N, out_channels, ceil(H / stride), ceil(W / stride)]."""
        weight = self.weight
        if (out_channels, x.shape[1]) != weight.shape[:2]:
            weight = weight[:out_channels, : x.shape[1]]
        x, stride = pixels_read(x, self.stride) if self.padding == 0 else (x, self.stride)
        return functional.conv2d(x, weight, stride=stride, padding=self.padding)


class SwitchableNorm(nn.ModuleDict):
    """Switchable batch norm: parameters and statistics of its own for each number of channels.

    Yu et al., "Slimmable Neural Networks", ICLR 2019, arXiv:1812.08928.

    Args:
        channels: The numbers of channels.

    Shapes:
        [parts N, C, H, W] -> the same.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__({str(count): nn.BatchNorm2d(count) for count in channels})

    def forward(self, x: Tensor, parts: int) -> Tensor:
        """[parts N, C, H, W] -> the same shape; each of the parts is normalised by itself, one after the other."""
        norm = self[str(x.shape[1])]
        return norm(x) if parts == 1 else torch.cat([norm(part) for part in x.chunk(parts)])


class SlimmableConvNorm(nn.Module):
    """Slimmable convolution and its switchable batch norm: y = BN_o(W[:o, :i] * x).

    Yu et al., "Slimmable Neural Networks", ICLR 2019, arXiv:1812.08928.

    Args:
        conv: The convolution.
        channels: Numbers of channels that may leave it.

    Shapes:
        [parts N, i, H, W] -> [parts N, o, ceil(H / stride), ceil(W / stride)].
    """

    def __init__(self, conv: SlimmableConv, channels: Sequence[int]) -> None:
        super().__init__()
        self.conv = conv
        self.bn = SwitchableNorm(channels)

    def forward(self, x: Tensor, out_channels: int, parts: int) -> Tensor:
        """[parts N, Cin used, H, W] -> [parts N, out_channels, H', W']."""
        return cast("Tensor", self.bn(self.conv(x, out_channels), parts))


class SlimmableReduce(nn.Module):
    """Skip of stride 2: y = BN_o([W1 x[:, 0::2, 0::2], W2 x[:, 1::2, 1::2]]), slimmable 1x1 convolutions to o / 2 channels.

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917, as in the official code. An odd side is padded by one pixel at its end
    [reading], so that both halves have ceil(size / 2) pixels.

    Args:
        in_channels: At full width.
        out_channels: At full width.
        channels: Numbers of channels that may leave it.

    Shapes:
        [parts N, i, H, W] -> [parts N, o, ceil(H / 2), ceil(W / 2)].
    """

    def __init__(self, in_channels: int, out_channels: int, *, channels: Sequence[int]) -> None:
        super().__init__()
        self.conv_even = SlimmableConv(in_channels, out_channels - out_channels // 2, kernel=1, stride=2)
        self.conv_odd = SlimmableConv(in_channels, out_channels // 2, kernel=1, stride=2)
        self.bn = SwitchableNorm(channels)

    def forward(self, x: Tensor, out_channels: int, parts: int) -> Tensor:
        """[parts N, Cin used, H, W] -> [parts N, out_channels, ceil(H / 2), ceil(W / 2)]."""
        height, width = x.shape[2:]
        x = functional.pad(x, (0, width % 2, 0, height % 2))
        half = out_channels // 2
        joined = torch.cat([self.conv_even(x, out_channels - half), self.conv_odd(x[:, :, 1:, 1:], half)], dim=1)
        return cast("Tensor", self.bn(joined, parts))


class SlimmableOps(nn.Module):
    """Operators of a cell on one input width and one output width, weighted: sum_o alpha_o op_o(x).

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917: skip, conv, zoomed conv, double conv and zoomed double conv.

    Args:
        in_channels: At full width.
        out_channels: At full width.
        stride: 1, or 2 towards the next coarser scale.
        channels: Numbers of channels that may leave it.

    Shapes:
        Each [N, Cin used, H, W] -> [N, Cout, ceil(H / stride), ceil(W / stride)].
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.stride = stride

        def conv(entering: int, *, kernel: int = 3, stride: int = 1) -> SlimmableConvNorm:
            return SlimmableConvNorm(SlimmableConv(entering, out_channels, kernel=kernel, stride=stride), channels)

        strided = SlimmableReduce(in_channels, out_channels, channels=channels)
        self.skip = strided if stride == 2 else conv(in_channels, kernel=1)
        self.conv = conv(in_channels, stride=stride)
        self.conv_downup = conv(in_channels)
        self.conv_2x = nn.ModuleList([conv(in_channels, stride=stride), conv(out_channels)])
        self.conv_2x_downup = nn.ModuleList([conv(in_channels), conv(out_channels)])

    def forward(self, alpha: Mapping[str, Tensor], stack: Stack, out_channels: int) -> Stack:
        """The weighted sum over the operators in `alpha` for each map of a stack.

        Args:
            alpha: Operator -> weight, [] or [N].
            stack: Maps [N, Cin used, H, W].
            out_channels: Channels that leave, those of a width.

        Returns:
            As many maps [N, out_channels, ceil(H / stride), ceil(W / stride)].
        """
        x, parts = torch.cat(stack) if len(stack) > 1 else stack[0], len(stack)
        size = cast("tuple[int, int]", tuple(x.shape[2:]))
        zoomed = any(op.endswith("downup") for op in alpha)
        small = _resized(x, (half_size(size[0], self.stride), half_size(size[1], self.stride))) if zoomed else x
        total: Tensor | None = None
        for op, weight in alpha.items():
            output = self._run(op, small if op.endswith("downup") else x, out_channels, parts)
            if op.endswith("downup") and self.stride == 1:
                output = _resized(output, size)
            factor = per_image(weight if weight.dim() == 0 else weight.repeat(parts))
            term = torch.relu(output)
            total = factor * term if total is None else torch.addcmul(total, factor, term)
        assert total is not None
        return list(total.chunk(parts))

    def _run(self, op: str, x: Tensor, out_channels: int, parts: int) -> Tensor:
        """The output of an operator before its last ReLU."""
        module = self.get_submodule(op)
        if not isinstance(module, nn.ModuleList):
            return cast("Tensor", module(x, out_channels, parts))
        first, second = module
        return cast("Tensor", second(torch.relu(first(x, out_channels, parts)), out_channels, parts))


class SlimmableCell(nn.Module):
    """Cell of the lattice, what it keeps or what it sends down: mixed operators between searched widths, on one input or on two.

    Chen et al., "FasterSeg", ICLR 2020, arXiv:1912.10917. With one input x: g_in g_out sum_o alpha_o op_o(x). With two inputs,
    betas weight the outputs as in the official code, b_down f(down) + b_keep f(keep), or the inputs as in the paper, f(b_down down
    + b_keep keep). The gates g are the entries of the drawn widths. They are one, and carry the gradient of a width; they are left
    out where no gradient is wanted.

    Args:
        node: Its node; decisions are operator, width in, width out and, with two inputs, the input.
        channels: Option of a width -> channels that leave.
        weigh_inputs: Whether betas weight inputs.

    Shapes:
        One or two maps, each [N, Cin used, H, W] -> [N, Cout drawn, ceil(H / stride), ceil(W / stride)].
    """

    def __init__(self, node: Node, *, channels: Mapping[str, int], weigh_inputs: bool) -> None:
        super().__init__()
        self.op, self.entering, self.leaving, *rest = node.decisions
        self.input = rest[0] if rest else None
        self.widths, self.channels, self.weigh_inputs = tuple(channels), tuple(channels.values()), weigh_inputs
        full = max(node.specs.values(), key=lambda spec: (spec.in_channels, spec.out_channels))
        self.ops = SlimmableOps(full.in_channels, full.out_channels, stride=full.stride, channels=self.channels)

    def forward(self, weights: Weights, *inputs: Tensor) -> Tensor:
        """One map, or those from the finer scale and from the same, [N, Cin used, H, W] each -> [N, Cout drawn, H', W']."""
        stack = list(inputs)
        if self.input is not None and self.weigh_inputs:
            stack = [self._path(weights, stack)]
        out_channels = self.channels[_drawn(weights, self.leaving)]
        outputs = self.ops(self._alpha(weights), stack, out_channels)
        value = outputs[0] if len(outputs) == 1 else self._path(weights, outputs)
        gates = [gate for name in (self.entering, self.leaving) if (gate := _gate(weights, name)).requires_grad]
        return value if not gates else per_image(torch.stack(gates).prod(dim=0)) * value

    def _alpha(self, weights: Weights) -> dict[str, Tensor]:
        z, drawn = weights.values[self.op], weights.drawn.get(self.op)
        return {op: z[..., k] for k, op in enumerate(LATTICE_OPS) if drawn in (None, k)}

    def _path(self, weights: Weights, values: Stack) -> Tensor:
        assert self.input is not None
        z = weights.values[self.input]
        return per_image(z[..., 0]) * values[0] + per_image(z[..., 1]) * values[1]


def _drawn(weights: Weights, decision: str) -> int:
    if decision not in weights.drawn:
        raise ValueError(f"{decision}: a pass runs at one width, got weights without a drawn one; draw or hold it")
    return weights.drawn[decision]


def _gate(weights: Weights, decision: str) -> Tensor:
    """The entry of the drawn width, which is one."""
    return weights.values[decision][..., _drawn(weights, decision)]


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
