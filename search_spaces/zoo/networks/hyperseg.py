"""HyperSeg-S and -M: EfficientNet-B1, and a decoder whose weights are made for each patch of the image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate, pairwise

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

STEM = 32
STAGES = (
    (1, 16, 2, 1, 3),
    (6, 24, 3, 2, 3),
    (6, 40, 3, 2, 5),
    (6, 80, 4, 2, 3),
    (6, 112, 4, 1, 5),
    (6, 192, 5, 2, 5),
    (6, 320, 2, 1, 3),
)
"""Expansion, channels, blocks, stride and kernel of the stages of EfficientNet-B1."""
FEATURES = (0, 1, 2, 4, 6)
"""Stages whose results the decoder reads."""
HEAD = 1280
"""Channels of the signal that weights are made of."""
UNIT = 32
"""Channels in which the signal is shared out."""
WEIGHT_GROUPS = (32, 16, 8, 16, 4)
"""Groups of the convolutions that make weights."""
PLAIN_LEVELS = 3
"""Levels of the decoder with a 1x1 convolution; the others are inverted residuals."""
EXPANSION = 2


def describe(net: Layers, *, scales: Sequence[float], widths: Sequence[int], unified: bool) -> Outputs:
    """Append the network: scores at 1/2.

    Nirkin, Wolf, Hassner, "HyperSeg: Patch-wise Hypernetwork for Real-time Semantic Segmentation", CVPR 2021, arXiv:2012.11582, on
    EfficientNet-B1 (Tan, Le, ICML 2019, arXiv:1905.11946). Built is the authors' code without its second, flipped pass of an
    evaluation and without stochastic depth. Strided convolutions are padded evenly here, there to the right and below alone.
    Unless weights are unified, every level reads the signal from its first channel on, as in that code.

    Args:
        net: Where it goes.
        scales: Channels of the maps that the decoder reads over those of the stages.
        widths: Channels of the levels of the decoder but the last.
        unified: Whether the weights of both inverted residuals are made at once.
    """
    features, x = _backbone(net, scales)
    signal = _context(net, x)
    shapes, channels = [], 0
    for level, (skip, width) in enumerate(zip(features, (*widths, net.num_classes), strict=True)):
        shapes.append(kernel_sizes(channels + skip.channels + 2, width, plain=level < PLAIN_LEVELS))
        channels = width
    kernels = _kernels(net, signal, shapes, unified=unified)
    x = features[0]
    for level, (skip, width) in enumerate(zip(features, (*widths, net.num_classes), strict=True)):
        name = f"decoder.{level}"
        if level:
            x = net.concat(f"{name}.concat", [skip, net.resize(f"{name}.up", x, skip)])
        x = net.op(f"{name}.coordinates", "coordinates", x, channels=x.channels + 2)
        x = (_plain if level < PLAIN_LEVELS else _inverted_residual)(net, name, x, kernels[level], width, side=2**level)
    return Outputs(scores=x)


def _backbone(net: Layers, scales: Sequence[float]) -> tuple[list[Value], Value]:
    """EfficientNet-B1: maps for the decoder from 1/32 to 1/2, and the map before its classifier."""
    features: list[Value] = []
    x = net.conv("stem", net.image, STEM, stride=2, layers="conv_bn3_swish")
    for stage, (expansion, channels, blocks, stride, kernel) in enumerate(STAGES):
        for block in range(blocks):
            step = stride if block == 0 else 1
            x = _block(net, f"stage.{stage}.{block}", x, channels, expansion=expansion, kernel=kernel, stride=step)
        if stage in FEATURES:
            scale = scales[len(features)]
            features.append(x if scale == 1 else net.conv(f"skip.{stage}", x, round(scale * channels), 1, layers="conv_bn3"))
    x = net.conv("head.conv", x, HEAD, 1, layers="conv_bn3_swish")
    return features[::-1], net.op("head.dropout", "dropout_20", x)


def _block(net: Layers, name: str, x: Value, channels: int, *, expansion: int, kernel: int, stride: int) -> Value:  # noqa: PLR0913
    """An inverted residual with a gate of channels; the input is added where shapes agree."""
    y = x if expansion == 1 else net.conv(f"{name}.expand", x, expansion * x.channels, 1, layers="conv_bn3_swish")
    y = net.depthwise(f"{name}.depthwise", y, kernel, stride=stride, layers="conv_bn3_swish")
    gate = net.conv(f"{name}.squeeze", net.global_pool(f"{name}.pool", y), x.channels // 4, 1, layers="conv_bias_swish")
    gate = net.conv(f"{name}.excite", gate, y.channels, 1, layers="conv_bias_sigmoid")
    y = net.conv(f"{name}.project", net.op(f"{name}.gate", "gate_channels", y, gate), channels, 1, layers="conv_bn3")
    return net.add(f"{name}.sum", x, y) if stride == 1 and channels == x.channels else y


def _context(net: Layers, x: Value) -> Value:
    """The signal: a map beside what a coarser one and its average say."""
    x = net.conv("context.in", x, HEAD // 2, 1)
    down = net.conv("context.down", x, HEAD // 2, 2, stride=2)
    average = net.resize("context.spread", net.global_pool("context.pool", down), down, kind="resize_nearest")
    up = net.conv("context.up", net.concat("context.coarse", [down, average]), HEAD // 2, 1)
    return net.concat("context.signal", [x, net.resize("context.resize", up, x, kind="resize_nearest")])


def kernel_sizes(channels: int, width: int, *, plain: bool) -> tuple[int, ...]:
    """Weights of each convolution of a level.

    >>> kernel_sizes(14, 8, plain=False)
    (392, 252, 224)
    """
    inside = EXPANSION * channels
    return (channels * width,) if plain else (channels * inside, 9 * inside, inside * width)


def shares(sizes: Sequence[int], units: int) -> list[int]:
    """Units of the signal that make so many weights each, at least one; what is left goes to the smallest.

    >>> shares([4160, 992, 208, 3676], 40)
    [18, 4, 2, 16]
    """
    order = sorted(set(sizes), key=lambda size: size * sizes.count(size), reverse=True)
    left, given = units - len(sizes), {}
    for size in order[:-1]:
        count = sizes.count(size)
        wanted = int(max(size * count * (units / sum(sizes)), count)) // count * count - count
        given[size] = min(wanted, left)
        left -= given[size]
    given[order[-1]] = left
    return [1 + given[size] // sizes.count(size) for size in sizes]


def _kernels(net: Layers, signal: Value, shapes: Sequence[tuple[int, ...]], *, unified: bool) -> list[list[Value]]:
    """The kernels of each convolution of each level, made by 1x1 convolutions of parts of the signal."""
    made = [sum(shape) for shape in shapes]
    if unified:
        made = [*made[:PLAIN_LEVELS], sum(made[PLAIN_LEVELS:])]
    parts = [UNIT * share for share in shares(made, HEAD // UNIT)]
    starts = [0, *accumulate(parts)] if unified else [0] * len(parts)
    values = []
    for number, (size, part, start, groups) in enumerate(zip(made, parts, starts, WEIGHT_GROUPS, strict=False)):
        read = _channels(net, f"kernels.{number}.signal", signal, start, part)
        y = net.conv(f"kernels.{number}.conv", read, -(-size // groups) * groups, 1, layers="conv", groups=groups)
        values.append(_channels(net, f"kernels.{number}.made", y, 0, size))
    if unified:
        size = sum(shapes[PLAIN_LEVELS])
        cut = partial(_channels, net, x=values.pop())
        values += [cut("kernels.3.level", start=0, count=size), cut("kernels.4.level", start=size, count=made[-1] - size)]
    return [_cut(net, f"kernels.{level}", value, shape) for level, (value, shape) in enumerate(zip(values, shapes, strict=True))]


def _cut(net: Layers, name: str, x: Value, sizes: Sequence[int]) -> list[Value]:
    """The channels of a map in parts."""
    return [
        _channels(net, f"{name}.part{number}", x, start, end - start)
        for number, (start, end) in enumerate(pairwise([0, *accumulate(sizes)]))
    ]


def _channels(net: Layers, name: str, x: Value, start: int, count: int) -> Value:
    """Some channels of a map, from `start` on."""
    if start:
        x = net.op(f"{name}.last", "last_channels", x, channels=x.channels - start)
    return x if count == x.channels else net.op(f"{name}.first", "first_channels", x, channels=count)


def _plain(net: Layers, name: str, x: Value, kernels: Sequence[Value], width: int, *, side: int) -> Value:  # noqa: PLR0913
    """A 1x1 convolution of patches, batch norm and ReLU."""
    return net.op(f"{name}.norm", "bn_relu", net.op(f"{name}.conv", "patch_conv", x, kernels[0], channels=width, kernel=side))


def _inverted_residual(net: Layers, name: str, x: Value, kernels: Sequence[Value], width: int, *, side: int) -> Value:  # noqa: PLR0913
    """Expand each patch with its surroundings, filter, project; the input is added where shapes agree."""
    (rows, columns), wide = (x.height // side, x.width // side), side + 2
    y = net.op(f"{name}.halo", "patch_halo", x, size=(rows * wide, columns * wide), kernel=side)
    y = net.op(f"{name}.expand", "patch_conv", y, kernels[0], channels=EXPANSION * x.channels, kernel=wide)
    y = net.op(f"{name}.expand_norm", "bn_relu6", y)
    y = net.op(f"{name}.depthwise", "patch_depthwise", y, kernels[1], size=(x.height, x.width), kernel=wide)
    y = net.op(f"{name}.depthwise_norm", "bn_relu6", y)
    y = net.op(f"{name}.project", "patch_conv", y, kernels[2], channels=width, kernel=side)
    y = net.op(f"{name}.norm", "bn", y)
    return net.add(f"{name}.sum", x, y) if width == x.channels else y


def _network(scales: Sequence[float], widths: Sequence[int], *, unified: bool) -> HandMade:
    return HandMade(stem_channels=STEM, describe=partial(describe, scales=scales, widths=widths, unified=unified), multiple=64)


NETWORKS = {
    "hyperseg_m": _network((1, 0.25, 0.25, 0.25, 0.25), (64, 32, 16, 16), unified=False),
    "hyperseg_s": _network((1, 0.166, 0.2, 0.25, 0.4), (32, 16, 8, 8), unified=True),
}
