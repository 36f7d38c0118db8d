"""JetSeg for a workstation, an AGX and a Nano: blocks of depthwise convolutions in sequence, and a decoder of two maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from nas.ops import out_size
from nas.space.graph import Graph, Value
from search_spaces.zoo.hand_made import HandMade, OfficialKeys, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.official_names import named_tensors

LAST_SIZE = 16
"""The larger side of maps that are not halved any more."""
ENTERING = ("7x1 1x7 1x1 5x1 1x5 3x3", "3x3 5x1 1x5 1x1 7x1 1x7", "3x3 5x1 1x5", "1x1")
"""Depthwise kernels of the blocks without residual of stages 0 to 3."""
KEEPING = ("", "7x1 1x7 3x3", "5x1 1x5 3x3", "3x3")
"""The same of the blocks with residuals."""
REDUCTION = 8
"""Channels over those inside the gate of CBAM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One of three configurations.

    Args:
        base: Channels of the first block.
        cap: Most channels of a block, and those of the decoder.
        inner_cap: Most channels inside a block.
        repeats: Blocks with residuals at each size of stages 0 to 3.
    """

    base: int
    cap: int
    inner_cap: int
    repeats: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block.

    Args:
        kernels: Its depthwise kernels, in order.
        inside: Channels inside.
        channels: That go out.
        stride: Stride.
        residual: Whether the running value is added after each operation.
        attention: `cbam`, `sam` or `eca`; empty: none.
    """

    kernels: tuple[str, ...]
    inside: int
    channels: int
    stride: int
    residual: bool
    attention: str


MODES = {
    "workstation": Mode(base=32, cap=512, inner_cap=1024, repeats=(0, 2, 4, 2)),
    "agx": Mode(base=16, cap=256, inner_cap=256, repeats=(0, 2, 4, 2)),
    "nano": Mode(base=8, cap=64, inner_cap=64, repeats=(0, 0, 1, 1)),
}


def describe(net: Layers, *, mode: Mode, configured: tuple[int, int]) -> Outputs:
    """Append the network: scores at 1/2.

    Lopez-Montiel, Lopez, Montiel, "JetSeg: Efficient Real-Time Semantic Segmentation Model for Low-Power GPU-Embedded Systems",
    2023, arXiv:2305.11419. The paper does not determine the network. Built is the authors' code with its first combination of
    kernels and with one repair: 1-D convolutions ask for a dilation of 0 along their side of 1, which PyTorch refuses; it is 1.
    The size that the network is configured for decides on blocks and widths and is a part of it; it runs at any size.

    Where the code differs from the paper: a block with residuals adds the running value after each of its operations, all others
    have no skip, and nothing is concatenated. The residuals between the depthwise convolutions do not exist. SAM is a gate of one
    channel from a 1x1 convolution, times its own mean plus its largest value. The loop of the decoder does not accumulate: the head
    of the lowest map is computed and thrown away. So nothing reads what the encoder computes below the middle map either. These
    weights are held, as in the authors' checkpoints, and never run; the parameters that are counted elsewhere include them. They
    are all that the configured size changes between 512x512 and 1024x2048.

    Args:
        net: Where it goes.
        mode: Widths and numbers of blocks.
        configured: (height, width) that it is configured for.
    """
    blocks, ends = plan(mode, configured)
    x, taken = net.image, []
    for number, block in enumerate(blocks):
        x = _first(net, block) if number == 0 else _block(net, f"encoder.{number}", x, block)
        if number in ends:
            taken.append(x)
    head = partial(net.conv, channels=mode.cap, kernel=1, layers="conv_bn_reu")
    high, middle, low = (head(f"decoder.{name}", one) for name, one in zip(("high", "middle", "low"), taken, strict=True))
    x = net.add("decoder.sum", high, net.resize("decoder.up", middle, high))
    x = net.concat("decoder.concat", [head("decoder.conv", x), high])
    return Outputs(scores=net.classifier("classifier.conv", head("decoder.last", x)), unread=(low,))


def plan(mode: Mode, configured: tuple[int, int]) -> tuple[list[Block], tuple[int, int, int]]:
    """The blocks of the encoder, and the numbers of those whose results the decoder takes: the highest, middle and lowest map.

    Args:
        mode: Widths and numbers of blocks.
        configured: (height, width) that it is configured for.
    """
    sizes = [max(configured)]
    while sizes[-1] > LAST_SIZE:
        sizes.append(out_size(sizes[-1], 2))
    third = len(sizes) // 3
    blocks, ends, channels = [_entering(mode, 0, 3, stride=2, attention="")], [], mode.base
    for number, size in enumerate(sizes[1:], start=1):
        group = min(number // third, 2)
        stage, attention = group + 1, ("cbam", "sam", "eca")[group]
        keeping = Block(
            kernels=tuple(KEEPING[stage].split()), inside=channels, channels=channels, stride=1, residual=True, attention=attention
        )
        blocks += [keeping] * mode.repeats[stage]
        if number in (third - 1, 2 * third - 1):
            ends.append(len(blocks) - 1)
        blocks.append(_entering(mode, stage, channels, stride=2 if size > LAST_SIZE else 1, attention=attention))
        channels = blocks[-1].channels
    return blocks, (ends[0], ends[1], len(blocks) - 1)


def _entering(mode: Mode, stage: int, channels: int, *, stride: int, attention: str) -> Block:
    """The block without residuals that ends a size."""
    wide = (mode.base, channels + mode.base, channels + 2 * mode.base, 2 * channels)[stage]
    return Block(
        kernels=tuple(ENTERING[stage].split()),
        inside=min(2 * channels, mode.inner_cap),
        channels=min(wide, mode.cap),
        stride=stride,
        residual=False,
        attention=attention,
    )


def groups(first: int, second: int) -> int:
    """Groups of a 1x1 convolution: the common divisor that is the nearest to the mean of all of them, the smaller of two such.

    >>> groups(32, 64), groups(3, 32)
    (8, 1)
    """
    divisors = [one for one in range(1, first + 1) if first % one == 0 and second % one == 0]
    mean = sum(divisors) / len(divisors)
    return min(divisors, key=lambda one: abs(one - mean))


def _first(net: Layers, block: Block) -> Value:
    """Depthwise convolutions of the image, then a strided 1x1 with batch norm and REU."""
    x = _depthwise(net, "encoder.0.conv", net.image, block.kernels)
    return net.conv("encoder.0.conv.pointwise", x, block.channels, 1, layers="conv_bn_reu", stride=block.stride)


def _depthwise(net: Layers, name: str, x: Value, kernels: Sequence[str]) -> Value:
    """Depthwise convolutions one after the other; those of 1-D kernels of 5 and 7 are dilated by 2 and 3."""
    for kernel in kernels:
        height, width = map(int, kernel.split("x"))
        dilation = 1 if height == width else max(height, width) // 2
        x = net.depthwise(f"{name}.{kernel}", x, (height, width), layers="conv", dilation=dilation)
    return x


def _block(net: Layers, name: str, x: Value, block: Block) -> Value:
    """A JetBlock: expand, shuffle, depthwise convolutions, attention, REU, reduce."""
    many = groups(x.channels, block.inside)
    expand = partial(net.conv, f"{name}.expand.conv", x, block.inside, 1, groups=many)
    if block.residual:
        x = _added(net, f"{name}.expand", x, expand(layers="conv"))
        x = _added(net, f"{name}.norm", x, net.op(f"{name}.norm.bn", "bn", x))
        x = _added(net, f"{name}.reu", x, net.op(f"{name}.reu.reu", "reu", x))
    else:
        x = expand(layers="conv_bn_reu", stride=block.stride)
    shuffled = net.op(f"{name}.shuffle.shuffle", "channel_shuffle", x, groups=many)
    x = _added(net, f"{name}.shuffle", x, shuffled) if block.residual else shuffled
    y = _depthwise(net, f"{name}.conv", x, block.kernels)
    y = net.conv(f"{name}.conv.pointwise", y, block.inside, 1, layers="conv", groups=groups(block.inside, block.inside))
    x = net.add(f"{name}.conv.sum", y, x, x) if block.residual else y
    for part, describe_part in (("attention", ATTENTION[block.attention]), ("act", _reu)):
        y = describe_part(net, f"{name}.{part}", x)
        x = _added(net, f"{name}.{part}", x, y) if block.residual else y
    y = net.conv(f"{name}.reduce.conv", x, block.channels, 1, layers="conv", groups=groups(block.inside, block.channels))
    return _added(net, f"{name}.reduce", x, y) if block.residual else y


def _added(net: Layers, name: str, x: Value, y: Value) -> Value:
    """What an operation makes of the running value, plus that value."""
    return net.add(f"{name}.sum", y, x)


def _reu(net: Layers, name: str, x: Value) -> Value:
    return net.op(f"{name}.reu", "reu", x)


def _cbam(net: Layers, name: str, x: Value) -> Value:
    """A gate of channels from average and largest values, then a gate of pixels (Woo et al., ECCV 2018, arXiv:1807.06521)."""
    terms, shared = [], ("average", None, None)
    for how, squeeze, excite in (shared, ("largest", f"{name}.average.squeeze", f"{name}.average.excite")):
        y = net.global_pool(f"{name}.{how}.pool", x, kind="global_pool" if how == "average" else "global_max_pool")
        y = net.conv(f"{name}.{how}.squeeze", y, x.channels // REDUCTION, 1, layers="conv", module=squeeze)
        y = net.relu(f"{name}.{how}.relu", y)
        terms.append(net.conv(f"{name}.{how}.excite", y, x.channels, 1, layers="conv", module=excite))
    gate = net.op(f"{name}.channels.sigmoid", "sigmoid", net.add(f"{name}.channels.add", *terms))
    x = net.op(f"{name}.channels.gate", "gate_channels", x, gate)
    y = net.op(f"{name}.pixels.statistics", "channel_statistics", x, channels=2)
    gate = net.op(f"{name}.pixels.sigmoid", "sigmoid", net.conv(f"{name}.pixels.conv", y, 1, 7, layers="conv"))
    return net.op(f"{name}.pixels.gate", "gate_pixels", x, gate)


def _sam(net: Layers, name: str, x: Value) -> Value:
    """A gate of pixels from a 1x1 convolution, times the sum of its own mean and largest value."""
    gate = net.op(f"{name}.pixels.sigmoid", "sigmoid", net.conv(f"{name}.pixels.conv", x, 1, 1, layers="conv"))
    pooled = [net.global_pool(f"{name}.scale.{kind}", gate, kind=kind) for kind in ("global_pool", "global_max_pool")]
    gate = net.op(f"{name}.scale.gate", "gate_channels", gate, net.add(f"{name}.scale.add", *pooled))
    return net.op(f"{name}.pixels.gate", "gate_pixels", x, gate)


def _eca(net: Layers, name: str, x: Value) -> Value:
    """A gate of channels from k neighbours, k = (log2(C) + 1) / 2 and odd (Wang et al., CVPR 2020, arXiv:1910.03151)."""
    kernel = int((math.log2(x.channels) + 1) / 2)
    pooled = net.global_pool(f"{name}.channels.pool", x)
    gate = net.op(f"{name}.channels.conv", "channel_conv_sigmoid", pooled, kernel=kernel + 1 - kernel % 2)
    return net.op(f"{name}.channels.gate", "gate_channels", x, gate)


ATTENTION = {"cbam": _cbam, "sam": _sam, "eca": _eca}


def official_keys(graph: Graph, *, mode: Mode, configured: tuple[int, int]) -> OfficialKeys:
    """Names in checkpoints of the authors' code (mmontielpz/jetseg)."""
    return named_tensors(graph, partial(_official, blocks=plan(mode, configured)[0]))


DECODER = {"low": "heads.0.head", "middle": "heads.1.head", "high": "heads.2.head", "conv": "conv", "last": "last_conv"}
CBAM = {"average.squeeze": "channel_gate.fc1", "average.excite": "channel_gate.fc2", "pixels.conv": "spatial_gate.conv"}
PLACES = {"expand": 0, "norm": 1, "conv": 4, "attention": 5, "reduce": 7}
"""Parts of a block -> number of its operation; the first block has its depthwise convolutions at 0."""


def _official(path: str, *, blocks: Sequence[Block]) -> Mapping[str, str]:
    """Path of a module -> official prefixes of its layers."""
    part, *rest = path.split(".")
    if part == "classifier":
        return {"conv": "decoder.classifier.0"}
    if part == "decoder":
        return {layer: f"decoder.{DECODER[rest[0]]}.{layer}" for layer in ("conv", "bn")}
    number, what, *inner = rest
    block, prefix = blocks[int(number)], f"encoder.encoder.{number}.ops"
    place = f"{prefix}.{0 if number == '0' else PLACES[what]}"
    norm = {"bn": f"{prefix}.1"}
    if what == "conv":
        return {"conv": f"{place}.{_official_kernel(inner[0], residual=block.residual)}", **norm}
    if what != "attention":
        return {"conv": place, **norm}
    names = {"cbam": CBAM, "sam": {"pixels.conv": "conv1"}, "eca": {"channels.conv": "conv"}}
    return {"conv": f"{place}.{names[block.attention]['.'.join(inner)]}"}


def _official_kernel(kernel: str, *, residual: bool) -> str:
    """The name of a convolution among the depthwise ones of a block, or of the 1x1 after them."""
    if kernel == "pointwise":
        return "pw"
    height, width = map(int, kernel.split("x"))
    size = max(height, width)
    level = 0 if residual else max(1, size // 2)
    shape = "standard" if height == width else f"asymmetric_side_{'l' if height > width else 'r'}"
    return f"ops.lvl_{level}_ks{size}_{shape}"


def _network(mode: str, configured: tuple[int, int]) -> HandMade:
    return HandMade(
        stem_channels=MODES[mode].base,
        describe=partial(describe, mode=MODES[mode], configured=configured),
        official_keys=partial(official_keys, mode=MODES[mode], configured=configured),
    )


NETWORKS = {
    "jetseg_workstation": _network("workstation", (1024, 2048)),
    "jetseg_agx": _network("agx", (1024, 2048)),
    "jetseg_nano": _network("nano", (1024, 2048)),
    "jetseg_nano_512": _network("nano", (512, 512)),
}
