"""FasterSeg as the reference describes it: where its files lie, its numbers, and its networks built once more by other means."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops import OpSpec
from nas.space.genotype import Genotype

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "reference" / "fasterseg"
needs_reference = pytest.mark.skipif(not FOLDER.is_dir(), reason="the FasterSeg reference is not at ../shared/reference/fasterseg")

NETWORKS = {
    "student": (4_385_689, 32_768, 931_046, 27_770_486_784),
    "teacher": (23_524_137, 73_728, 1_335_206, 107_778_932_736),
}
"""Network -> all parameters, those of the unused channel attention and of the auxiliary heads, MACs at 1024x2048; measured on the
official code."""

OFFICIAL_NAMES = {
    "conv_2x": "BasicResidual2x",
    "conv_downup": "BasicResidual_downup_1x",
    "conv_2x_downup": "BasicResidual_downup_2x",
}
"""Kind of operation -> the name of its rows in the official latency table."""

FILTERS = 12


def official_table() -> dict[tuple[str, ...], float]:
    """The official latency table: row -> ms."""
    with (FOLDER / "latency_lut_1080ti.csv").open() as file:
        return {tuple(row[:-1]): float(row[-1]) for row in list(csv.reader(file))[1:]}


def row_of(spec: OpSpec, *, kind: str) -> tuple[str, ...]:
    """The row of the official latency table that times an operation: name, sizes, channels, kernel, stride, dilation."""
    sizes = [spec.height, spec.width, spec.in_channels, spec.out_channels]
    if kind == "ConvNorm":
        numbers = [*sizes, spec.kernel, spec.stride, ""]
    elif kind in ("ff", "head"):
        numbers = [*sizes, "", "", ""]
    else:
        numbers = [*sizes, "", spec.stride, 1]
    return (kind, *map(str, numbers))


def lattice_row_of(spec: OpSpec) -> tuple[str, ...]:
    """The row that times an operation of the stem or of the lattice; `identity` is the skip of stride 1."""
    if spec.kind in ("identity", "reduce_bn_relu"):
        return (*row_of(spec, kind="FactorizedReduce")[:-1], "")
    if spec.kind == "conv_bn_relu":
        return row_of(spec, kind="ConvNorm" if spec.in_channels == 3 else "BasicResidual1x")
    return row_of(spec, kind=OFFICIAL_NAMES[spec.kind])


def wide(stride: int, width: float) -> int:
    """Channels at a stride and width: round(s F w)."""
    return round(stride * FILTERS * width)


def resized(x: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(x, (height, width), mode="bilinear", align_corners=True)


class ConvNorm(nn.Module):
    """Convolution, batch norm and ReLU, as stem, arms and refinements have them."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.conv = nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ConvBnRelu(nn.Module):
    """The same three under the names of heads and fusion."""

    def __init__(self, c_in: int, c_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class Operator(nn.Module):
    """An operator of the official code: a convolution or two, zoomed (at half the size) or not."""

    def __init__(self, name: str, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.zoomed, self.stride = name.endswith("downup"), stride
        self.conv1 = nn.Conv2d(c_in, c_out, 3, 1 if self.zoomed else stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.double = "2x" in name
        if self.double:
            self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        up = self.stride - 1  # an odd side is halved upwards where it stays small: our reading
        y = resized(x, (height + up) // 2, (width + up) // 2) if self.zoomed else x
        y = self.bn1(self.conv1(y))
        if self.double:
            y = self.bn2(self.conv2(y.relu()))
        if self.zoomed and self.stride == 1:
            y = resized(y, height, width)
        return y.relu()


class Head(nn.Module):
    def __init__(self, c_in: int, classes: int) -> None:
        super().__init__()
        middle = c_in // 2 if c_in > 256 else c_in
        self.conv_3x3 = ConvBnRelu(c_in, middle, 3)
        self.conv_1x1 = nn.Conv2d(middle, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_1x1(self.conv_3x3(x))


class Fusion(nn.Module):
    """The 1x1 convolution, and two more of a channel attention that the official code builds and never runs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_1x1 = ConvBnRelu(channels, channels, 1)
        unused = [nn.Module(), nn.Module()]
        for one in unused:
            one.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.channel_attention = nn.Sequential(nn.Identity(), *unused)


def nested(module: nn.Module, names: str) -> nn.Module:
    """A module under names that do nothing."""
    for name in reversed(names.split(".")):
        outer = nn.Module()
        outer.add_module(name, module)
        module = outer
    return module


def path_of(genotype: Genotype, end: int) -> list[tuple[str, int, float]]:
    """(operator, stride at which it runs, width that leaves it) of each layer of a branch."""
    read = genotype.choices
    path = []
    for layer in range(genotype.space_config["layers"]):
        op, scale, width = (read[f"branch.{end}.layer.{layer}.{part}"] for part in ("op", "scale", "width"))
        if op != "none":
            path.append((op, int(scale.split("/")[1]), int(width.split("/")[0]) / 12))
    return path


class Reference(nn.Module):
    """A derived network of the reference with the official parameter names: images -> (l8, l16, l32) at their size."""

    def __init__(self, genotype: Genotype, classes: int = 19) -> None:
        super().__init__()
        self.ends = [int(end) for end in genotype.choices["branches"].split("+")]
        stem, head = (int(genotype.choices[f"{part}.width"].split("/")[0]) / 12 for part in ("stem", "head"))
        narrow, middle = 2 * wide(2, stem), 2 * wide(4, stem)
        self.stem = nn.Sequential(
            ConvNorm(3, narrow, 3, 2), Operator("conv_2x", narrow, middle, 2), Operator("conv_2x", middle, wide(8, stem), 2)
        )
        self.paths = [path_of(genotype, end) for end in self.ends]
        self.cells = nn.ModuleDict()
        latest = [{8: wide(8, stem)} for _ in self.ends]
        together = True
        for layer in range(max(map(len, self.paths))):
            together = together and self._agree(layer)
            for branch, path in enumerate(self.paths):
                if layer >= len(path):
                    continue
                op, stride, width = path[layer]
                after = path[layer + 1][1] if layer + 1 < len(path) else stride
                c_out = wide(after, width if layer + 1 < len(path) else head)
                if together and branch == 1:
                    self.cells[f"{layer}-1"] = self.cells[f"{layer}-0"]
                else:
                    op_module = Operator(op, latest[branch][stride], c_out, after // stride)
                    self.cells[f"{layer}-{branch}"] = nested(op_module, "_op._op")
                latest[branch][after] = c_out
        self._add_decoder(latest, {stride: wide(stride, head) for stride in (8, 16, 32)}, classes)

    def _agree(self, layer: int) -> bool:
        """Whether both branches have one cell at a layer: equal operator and width there, and equal scale after it."""
        a, b = self.paths
        if layer + 1 >= min(len(a), len(b)):
            return False
        return a[layer + 1][1] == b[layer + 1][1] and a[layer][0] == b[layer][0] and a[layer][2] == b[layer][2]

    def _add_decoder(self, latest: list[dict[int, int]], c: dict[int, int], classes: int) -> None:
        self.arms32 = nn.ModuleList([ConvNorm(c[32], c[16], 1), ConvNorm(c[16], c[8], 1)])
        deep = latest[0]
        self.refines32 = nn.ModuleList([ConvNorm(c[16] + deep[16], c[16], 3), ConvNorm(c[8] + deep[8], c[8], 3)])
        if 16 in self.ends:
            self.arms16 = ConvNorm(c[16], c[8], 1)
            self.refines16 = ConvNorm(c[8] + latest[1][8], c[8], 3)
        self.ffm = Fusion(2 * c[8])
        self.heads8 = Head(2 * c[8], classes)
        self.heads16 = Head(deep[16] + (c[16] if 16 in self.ends else 0), classes)
        self.heads32 = Head(c[32], classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stem = self.stem(images)
        maps, first = [], []
        for branch, path in enumerate(self.paths):
            x, seen = stem, {8: stem}
            for layer, (_, stride, _) in enumerate(path):
                cell = self.cells[f"{layer}-{branch}"]
                shared = branch == 1 and layer < len(first) and cell is self.cells[f"{layer}-0"]
                x = first[layer] if shared else cell._op._op(x)
                first += [x] if branch == 0 else []
                seen[path[layer + 1][1] if layer + 1 < len(path) else stride] = x
            maps.append(seen)
        deep, other = maps
        x = self._merged(self.arms32[0](deep[32]), deep[16], self.refines32[0])
        fused = [self._merged(self.arms32[1](x), deep[8], self.refines32[1])]
        fused.append(self._merged(self.arms16(other[16]), other[8], self.refines16) if 16 in self.ends else other[8])
        l8 = self.heads8(self.ffm.conv_1x1(torch.cat(fused, dim=1)))
        l16 = self.heads16(torch.cat([deep[16], other[16]], dim=1) if 16 in self.ends else deep[16])
        return tuple(resized(scores, *images.shape[2:]) for scores in (l8, l16, self.heads32(deep[32])))

    @staticmethod
    def _merged(x: Tensor, finer: Tensor, refine: nn.Module) -> Tensor:
        return refine(torch.cat([resized(x, *finer.shape[2:]), finer], dim=1))
