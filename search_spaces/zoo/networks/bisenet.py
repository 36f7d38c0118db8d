"""BiSeNet: a spatial path of three strided convolutions, a context path on a classifier's trunk, fusion of both at 1/8."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nas.space.graph import Value
from search_spaces.zoo.bisenet_parts import climb, fuse, predict
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.trunks import resnet, resnet_stem

Maps = tuple[Value, Value, Value]
"""Maps at 1/8, 1/16 and 1/32."""
XCEPTION39 = ((16, 4), (32, 8), (64, 4))
"""Channels inside of the blocks and blocks of the stages at 1/8, 1/16 and 1/32."""
XCEPTION_EXPANSION = 4


def describe(net: Layers, *, trunk: Callable[[Layers], Maps], auxiliary_channels: int) -> Outputs:
    """Append a network: scores at 1/8.

    Yu, Wang, Peng, Gao, Yu, Sang, "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation", ECCV 2018,
    arXiv:1808.00897. The paper prints 49 M parameters with ResNet-18 and 5.8 M with Xception39, which the authors' later code does
    not have: 12.9 M and 1.5 M. That code has no reduction inside of the fusion's gate. It ends in a logarithm of softmax, which is
    left out.

    Args:
        net: The network.
        trunk: Appends the trunk of the context path.
        auxiliary_channels: Channels inside of the auxiliary heads.
    """
    spatial = net.conv("spatial.0", net.image, 64, 7, stride=2)
    for number in (1, 2):
        spatial = net.conv(f"spatial.{number}", spatial, 64, stride=2)
    spatial = net.conv("spatial.3", spatial, 128, 1)
    coarse, context = climb(net, "context", trunk(net), kind="resize_corners")
    x = fuse(net, "fusion", spatial, context, reduction=1)
    refined = (("aux8", context), ("aux16", coarse))
    auxiliary = {name: predict(net, name, y, auxiliary_channels, bias=True) for name, y in refined}
    return Outputs(scores=predict(net, "head", x, 64, bias=True), resize="resize_corners", auxiliary=auxiliary)


def _resnet18(net: Layers) -> Maps:
    """ResNet-18: 128, 256 and 512 channels."""
    _, low, middle, high = (stage.out for stage in resnet(net, resnet_stem(net, "stem", net.image)))
    return low, middle, high


def _xception39(net: Layers) -> Maps:
    """Xception39: 64, 128 and 256 channels."""
    x = net.pool("stem.pool", net.conv("stem.conv", net.image, 8, stride=2), 3)
    maps = []
    for number, (channels, count) in enumerate(XCEPTION39):
        for block in range(count):
            x = _xception_block(net, f"stage.{number}.{block}", x, channels, halve=block == 0)
        maps.append(x)
    low, middle, high = maps
    return low, middle, high


def _xception_block(net: Layers, name: str, x: Value, channels: int, *, halve: bool) -> Value:
    """Three separable convolutions, and the input, by a separable convolution where the size is halved (arXiv:1610.02357)."""
    stride = 2 if halve else 1
    y = _separable(net, f"{name}.0", x, channels, stride=stride)
    y = _separable(net, f"{name}.1", y, channels)
    y = _separable(net, f"{name}.2", y, XCEPTION_EXPANSION * channels, layers="conv_bn")
    if halve:
        x = _separable(net, f"{name}.shortcut", x, y.channels, stride=stride, layers="conv_bn")
    return net.relu(f"{name}.relu", net.add(f"{name}.sum", y, x))


def _separable(net: Layers, name: str, x: Value, channels: int, *, stride: int = 1, layers: str = "conv_bn_relu") -> Value:  # noqa: PLR0913
    """Depthwise 3x3 alone, then 1x1."""
    return net.conv(
        f"{name}.pointwise", net.depthwise(f"{name}.depthwise", x, layers="conv", stride=stride), channels, 1, layers=layers
    )


NETWORKS = {
    "bisenet_r18": HandMade(stem_channels=64, describe=partial(describe, trunk=_resnet18, auxiliary_channels=256)),
    "bisenet_xception39": HandMade(stem_channels=64, describe=partial(describe, trunk=_xception39, auxiliary_channels=128)),
}
