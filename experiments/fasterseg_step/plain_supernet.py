"""The supernet of FasterSeg written plainly: one module for each thing that the official code has, run as often as it runs it.

Chen et al., FasterSeg, ICLR 2020. It shares no line with `search_spaces.fasterseg`, which is tested and timed against it. Nothing
is batched or shared: a mixed operation runs its five operators one by one, a cell with two inputs runs twice, a zoomed operator
halves its input itself. Where sizes are odd, it follows the readings of search_spaces/fasterseg/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

OPERATORS = ("skip", "conv", "conv_downup", "conv_2x", "conv_2x_downup")
OUTPUTS = ("8s", "16s", "32s", "8s_32s", "16s_32s")

Widths = Mapping[tuple[int, int], tuple[int, Tensor]]
"""(layer, scale) of a cell -> index among the widths, and gate (a scalar, 1 but for its gradient), of the tensor that enters it.
The cell at (0, 0) takes the stem's output and has none."""


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, corners aligned: `[N, C, H, W] -> [N, C, height, width]`."""
    return functional.interpolate(x, (height, width), mode="bilinear", align_corners=True)


def drawn_widths(ratio: Sequence[Tensor], noise: Sequence[Tensor]) -> Widths:
    """Gumbel-Softmax at temperature 1, straight-through, of the width of each tensor.

    Args:
        ratio: For each scale the logits `[rows, widths]`.
        noise: Gumbel noise of the same shapes.
    """
    widths = {}
    for scale, (rows, noises) in enumerate(zip(ratio, noise, strict=True)):
        for row, perturbed in enumerate(rows.log_softmax(1) + noises):
            soft = perturbed.softmax(0)
            index = int(soft.argmax())
            widths[row + max(scale, 1), scale] = index, 1 - soft[index].detach() + soft[index]
    return widths


class ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU: the block of everything that has a fixed width."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, c_in, H, W] -> [N, c_out, ceil(H / stride), ceil(W / stride)]`."""
        return self.bn(self.conv(x)).relu()


class SlimConv(nn.Module):
    """A convolution of which the first filters and the first input channels are used."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(c_out, c_in, kernel, kernel))
        nn.init.kaiming_normal_(self.weight)
        self.stride, self.padding = stride, kernel // 2

    def forward(self, x: Tensor, c_out: int) -> Tensor:
        """`[N, C, H, W] -> [N, c_out, ceil(H / stride), ceil(W / stride)]`."""
        return functional.conv2d(x, self.weight[:c_out, : x.shape[1]], None, self.stride, self.padding)


class Operator(nn.Module):
    """One of the five operators, slimmable; a batch norm for each width of its output."""

    def __init__(self, name: str, c_in: int, outs: Sequence[int], stride: int) -> None:
        super().__init__()
        self.zoomed, self.stride, self.outs = name.endswith("downup"), stride, outs
        full = outs[-1]
        first = 1 if self.zoomed else stride
        if name != "skip":
            self.convs = nn.ModuleList([SlimConv(c_in, full, 3, first)])
        elif stride == 1:
            self.convs = nn.ModuleList([SlimConv(c_in, full, 1)])
        else:
            self.convs = nn.ModuleList([SlimConv(c_in, full // 2, 1, 2), SlimConv(c_in, full // 2, 1, 2)])
        self.norms = nn.ModuleList([nn.ModuleList([nn.BatchNorm2d(out) for out in outs])])
        self.factorized = name == "skip" and stride == 2
        if "2x" in name:
            self.convs.append(SlimConv(full, full, 3))
            self.norms.append(nn.ModuleList([nn.BatchNorm2d(out) for out in outs]))

    def forward(self, x: Tensor, index: int) -> Tensor:
        """`[N, C, H, W] -> [N, outs[index], ceil(H / stride), ceil(W / stride)]`."""
        height, width = x.shape[2:]
        out = self.outs[index]
        if self.factorized:
            return self.norms[0][index](self._shifted(x, out // 2)).relu()
        if self.zoomed:
            up = self.stride - 1  # an odd side is halved upwards where the result stays small
            x = resized(x, max((height + up) // 2, 1), max((width + up) // 2, 1))
        x = self.norms[0][index](self.convs[0](x, out))
        if len(self.convs) == 2:
            x = self.norms[1][index](self.convs[1](x.relu(), out))
        if self.zoomed and self.stride == 1:
            x = resized(x, height, width)
        return x.relu()

    def _shifted(self, x: Tensor, half: int) -> Tensor:
        """Half of the channels from even pixels, half from odd ones; zero stands for an odd row or column that is not there."""
        n, c, height, width = x.shape
        even = x.new_zeros(n, c, height + height % 2, width + width % 2)
        even[:, :, :height, :width] = x
        return torch.cat([self.convs[0](x, half), self.convs[1](even[:, :, 1:, 1:], half)], dim=1)


class MixedOp(nn.Module):
    """The five operators between two scales."""

    def __init__(self, c_in: int, outs: Sequence[int], stride: int) -> None:
        super().__init__()
        self.ops = nn.ModuleDict({name: Operator(name, c_in, outs, stride) for name in OPERATORS})

    def forward(self, x: Tensor, index: int, alpha: Tensor, gate: Tensor) -> Tensor:
        """Sum over the operators, each times its alpha `[5]` and the gates of its output and its input."""
        outputs = [weight * op(x, index) * gate for weight, op in zip(alpha, self.ops.values(), strict=True)]
        return torch.stack(outputs).sum(0)


class Modules(nn.Module):
    """What an architecture has for itself: stem, refinements, five heads, architecture parameters."""

    def __init__(self, *, layers: int, filters: int, stem: int, head: int, ratios: int, classes: int) -> None:
        super().__init__()
        c2, c4, c8 = (round(stride * filters * stem / 12) for stride in (2, 4, 8))
        h8, h16, h32 = (round(stride * filters * head / 12) for stride in (8, 16, 32))
        self.stem = nn.Sequential(
            ConvNorm(3, 2 * c2, 3, 2),
            nn.Sequential(ConvNorm(2 * c2, 2 * c4, 3, 2), ConvNorm(2 * c4, 2 * c4, 3)),
            nn.Sequential(ConvNorm(2 * c4, c8, 3, 2), ConvNorm(c8, c8, 3)),
        )
        self.refine16 = nn.ModuleList([ConvNorm(h16, h8, 1), ConvNorm(2 * h8, h8, 3)])
        self.refine32 = nn.ModuleList(
            [ConvNorm(h32, h16, 1), ConvNorm(2 * h16, h16, 3), ConvNorm(h16, h8, 1), ConvNorm(2 * h8, h8, 3)]
        )
        self.heads = nn.ModuleDict()
        for name, c in zip(OUTPUTS, (h8, h8, h8, 2 * h8, 2 * h8), strict=True):
            self.heads[name] = nn.Sequential(ConvNorm(c, c, 3), nn.Conv2d(c, classes, 1))
        self.alpha = logits((layers, 5), (layers - 1, 5), (layers - 2, 5))
        self.beta = logits((0, 2), (layers - 2, 2), (layers - 3, 2))
        self.ratio = logits((layers - 1, ratios), (layers - 1, ratios), (layers - 2, ratios))

    def decode(self, o0: Tensor, o1: Tensor, o2: Tensor) -> dict[str, Tensor]:
        """The maps of the last layer -> logits `[N, classes, H/8, W/8]` of the five outputs."""
        m1 = self.refine16[1](joined(self.refine16[0](o1), o0))
        t = self.refine32[1](joined(self.refine32[0](o2), o1))
        m2 = self.refine32[3](joined(self.refine32[2](t), o0))
        maps = (o0, m1, m2, torch.cat([o0, m2], dim=1), torch.cat([m1, m2], dim=1))
        return {name: self.heads[name](x) for name, x in zip(OUTPUTS, maps, strict=True)}


def logits(*shapes: tuple[int, int]) -> nn.ParameterList:
    """Architecture parameters of the three scales."""
    return nn.ParameterList([nn.Parameter(torch.full(shape, 1e-3)) for shape in shapes])


def joined(coarse: Tensor, fine: Tensor) -> Tensor:
    """The coarse map at the size of the fine one, and the fine one."""
    return torch.cat([resized(coarse, *fine.shape[2:]), fine], dim=1)


class PlainSupernet(nn.Module):
    """The lattice with the modules of both architectures.

    Args:
        layers: Layers of the lattice, at least 3.
        filters: F; a map of stride s and width w has round(s F w) channels.
        widths: Widths in twelfths, ascending, the last one 12.
        classes: Channels of the logits.
        sets: Architecture -> its width of stem and head in twelfths, and the columns of its ratios (1: it searches no widths).
        weigh: What beta weighs: `outputs` of a cell, as officially, or its `inputs`.
    """

    def __init__(
        self,
        *,
        layers: int,
        filters: int,
        widths: Sequence[int],
        classes: int,
        sets: Mapping[str, tuple[int, int]],
        weigh: str = "outputs",
    ) -> None:
        super().__init__()
        self.layers, self.num_widths, self.weigh = layers, len(widths), weigh
        self.head_index = {name: list(widths).index(width) for name, (width, _) in sets.items()}
        self.sets = nn.ModuleDict()
        for name, (width, ratios) in sets.items():
            self.sets[name] = Modules(layers=layers, filters=filters, stem=width, head=width, ratios=ratios, classes=classes)
        channels = [[round(8 * 2**scale * filters * width / 12) for width in widths] for scale in range(3)]
        self.keep, self.down = nn.ModuleDict(), nn.ModuleDict()
        for layer in range(layers):
            for scale in range(min(layer + 1, 3)):
                c_in = channels[scale][-1]
                self.keep[f"{layer}_{scale}"] = MixedOp(c_in, channels[scale], 1)
                if scale < 2 and layer < layers - 1:
                    self.down[f"{layer}_{scale}"] = MixedOp(c_in, channels[scale + 1], 2)

    def forward(self, images: Tensor, name: str, widths: Widths) -> dict[str, Tensor]:
        """Images `[N, 3, H, W]` -> logits `[N, classes, H/8, W/8]` of an architecture, with the widths of a pass."""
        own = self.sets[name]
        one = images.new_ones(())
        widths = {**widths, (0, 0): (0, one), **{(self.layers, scale): (self.head_index[name], one) for scale in range(3)}}
        keeps: dict[int, Tensor] = {0: own.stem(images)}
        downs: dict[int, Tensor] = {}
        for layer in range(self.layers):
            produced = {}
            for scale in range(min(layer + 1, 3)):
                inputs = [x for x in (downs.get(scale), keeps.get(scale)) if x is not None]
                mix = own.beta[scale][layer - scale - 1].softmax(0) if len(inputs) == 2 else one[None]
                if self.weigh == "inputs":
                    inputs, mix = [self._weighted(inputs, mix)], one[None]
                outputs = [self._cell(x, own, layer, scale, widths) for x in inputs]
                produced[scale] = [self._weighted(same, mix) for same in zip(*outputs, strict=True)]
            keeps = {scale: outputs[0] for scale, outputs in produced.items()}
            downs = {scale + 1: outputs[1] for scale, outputs in produced.items() if len(outputs) == 2}
        return own.decode(keeps[0], keeps[1], keeps[2])

    @staticmethod
    def _weighted(tensors: Sequence[Tensor], mix: Tensor) -> Tensor:
        return torch.stack([weight * x for weight, x in zip(mix, tensors, strict=True)]).sum(0)

    def _cell(self, x: Tensor, own: Modules, layer: int, scale: int, widths: Widths) -> list[Tensor]:
        """What a cell makes of one input: keep, and down where it has one."""
        alpha = own.alpha[scale][layer - scale].softmax(0)
        gate_in = widths[layer, scale][1]
        outputs = []
        for ops, after in ((self.keep, scale), (self.down, scale + 1)):
            if f"{layer}_{scale}" in ops:
                index, gate_out = widths[layer + 1, after]
                outputs.append(ops[f"{layer}_{scale}"](x, index, alpha, gate_in * gate_out))
        return outputs
