"""ICNet: a deep trunk on a quarter of the image, its first stages on a half, three convolutions on the whole, cascaded fusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

STAGES = ((64, 3, 1, 1, 1), (128, 4, 2, 1, 1), (256, 6, 1, 1, 2), (512, 3, 1, 2, 4))
"""Channels inside of the blocks, blocks, stride, dilation of the first block and of the others."""
EXPANSION = 4
BINS = (1, 2, 3, 6)


def describe(net: Layers) -> Outputs:
    """Append the network: scores at 1/4.

    Zhao, Qi, Shen, Shi, Jia, "ICNet for Real-Time Semantic Segmentation on High-Resolution Images", ECCV 2018, arXiv:1704.08545.
    The official code is for Caffe. The third-party implementation that is measured has ResNet-50 at its full width, where the
    speed of the paper is that of a network pruned to half of it, and sums the pyramid without convolutions. Its count of 294.5
    GMACs is that of more than the network: its auxiliary heads run in evaluation too, and its last two stages on half of the
    image, whose result nothing reads; 114.0 are left without them. It shrinks images by their corners, here by centres of pixels.
    """
    coarse = _trunk(net, "quarter_image", net.op("quarter_image.shrink", "shrink", net.image, stride=4), len(STAGES), None)
    coarse = _pyramid(net, "pyramid", coarse)
    middle = _trunk(net, "half_image", net.op("half_image.shrink", "shrink", net.image, stride=2), 2, "quarter_image")
    whole = [net.image]
    for number, channels in enumerate((32, 32, 64)):
        whole.append(net.conv(f"full_image.{number}", whole[-1], channels, stride=2))
    x, aux16 = _fuse(net, "aux16", "fusion.16", coarse, middle)
    x, aux8 = _fuse(net, "aux8", "fusion.8", x, whole[3])
    x = net.resize("head.up", x, whole[2], kind="resize_corners")
    scores = net.classifier("head.classifier", x, bias=False)
    return Outputs(scores=scores, resize="resize_corners", auxiliary={"aux16": aux16, "aux8": aux8})


@dataclass(frozen=True, slots=True)
class _Shared:
    """Convolutions of one pass over the trunk, with the weights of the nodes of another pass if there is one."""

    net: Layers
    part: str
    weights: str | None

    def conv(self, name: str, x: Value, channels: int, kernel: int = 3, **fields: Any) -> Value:
        """As `Layers.conv`."""
        module = None if self.weights is None else f"{self.weights}.{name}"
        return self.net.conv(f"{self.part}.{name}", x, channels, kernel, module=module, **fields)


def _trunk(net: Layers, part: str, x: Value, stages: int, weights: str | None) -> Value:
    """The first stages of a ResNet-50 with three 3x3 convolutions as its stem, dilated from the third stage on.

    Chen et al., "DeepLab", TPAMI 2018, arXiv:1606.00915; the stem is that of Szegedy et al., CVPR 2016, arXiv:1512.00567.
    """
    shared = _Shared(net, part, weights)
    for number, channels in enumerate((64, 64, 128)):
        x = shared.conv(f"stem.{number}", x, channels, stride=2 if number == 0 else 1)
    x = net.pool(f"{part}.stem.pool", x, 3)
    for number, (channels, blocks, stride, first, others) in enumerate(STAGES[:stages], start=1):
        for block in range(blocks):
            begins = block == 0
            x = _bottleneck(
                shared, f"stage.{number}.{block}", x, channels, stride=stride if begins else 1, dilation=first if begins else others
            )
    return x


def _bottleneck(shared: _Shared, name: str, x: Value, channels: int, *, stride: int, dilation: int) -> Value:  # noqa: PLR0913
    """1x1, 3x3, 1x1, added to the input, which passes a 1x1 where shapes differ (arXiv:1512.03385)."""
    net, part = shared.net, shared.part
    y = shared.conv(f"{name}.conv1", x, channels, 1)
    y = shared.conv(f"{name}.conv2", y, channels, stride=stride, dilation=dilation)
    y = shared.conv(f"{name}.conv3", y, EXPANSION * channels, 1, layers="conv_bn")
    if stride != 1 or y.channels != x.channels:
        x = shared.conv(f"{name}.shortcut", x, y.channels, 1, stride=stride, layers="conv_bn")
    return net.relu(f"{part}.{name}.relu", net.add(f"{part}.{name}.sum", y, x))


def _pyramid(net: Layers, name: str, x: Value) -> Value:
    """The map and its averages over grids, summed."""
    levels = [x]
    for bins in BINS:
        level = net.bins(f"{name}.{bins}.pool", x, bins)
        levels.append(net.resize(f"{name}.{bins}.up", level, x, kind="resize_corners"))
    return net.add(f"{name}.sum", *levels)


def _fuse(net: Layers, auxiliary: str, name: str, coarse: Value, fine: Value) -> tuple[Value, Value]:
    """Cascade feature fusion (section 3.3 of the paper): the fused map, and the auxiliary scores of the coarser one."""
    coarse = net.resize(f"{name}.up", coarse, fine, kind="resize_corners")
    coarse = net.conv(f"{name}.coarse", coarse, 128, dilation=2, layers="conv_bn")
    x = net.add(f"{name}.sum", coarse, net.conv(f"{name}.fine", fine, 128, 1, layers="conv_bn"))
    return net.relu(f"{name}.relu", x), net.classifier(f"{auxiliary}.classifier", coarse, bias=False)


NETWORKS = {"icnet": HandMade(stem_channels=64, describe=describe)}
