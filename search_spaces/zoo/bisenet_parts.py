"""Parts of BiSeNet that STDC's networks have too: attention refinement, the way up of the context path, feature fusion."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.layers import Layers


def climb(net: Layers, name: str, maps: tuple[Value, Value, Value], *, kind: str) -> tuple[Value, Value]:
    """The way up of the context path: refined maps at 1/32 and 1/16 and the average of the first, summed from the top.

    Yu et al., "BiSeNet", ECCV 2018, arXiv:1808.00897, section 3.2.

    Args:
        net: The network.
        name: Of the part.
        maps: Maps at 1/8, 1/16 and 1/32; the first says to which size the last result goes.
        kind: Of the resizing.

    Returns:
        128 channels at 1/16, and 128 at 1/8.
    """
    low, middle, high = maps
    vector = net.conv(f"{name}.32.vector", net.global_pool(f"{name}.32.pool", high), 128, 1)
    x = net.op(f"{name}.32.sum", "shift", _refine(net, f"{name}.32", high), vector)
    x = coarse = net.conv(f"{name}.32.conv", net.resize(f"{name}.32.up", x, middle, kind=kind), 128)
    x = net.add(f"{name}.16.sum", _refine(net, f"{name}.16", middle), x)
    return coarse, net.conv(f"{name}.16.conv", net.resize(f"{name}.16.up", x, low, kind=kind), 128)


def _refine(net: Layers, name: str, x: Value) -> Value:
    """Attention refinement: 3x3 to 128 channels, each times a gate from the averages of all."""
    x = net.conv(f"{name}.refine", x, 128)
    gate = net.conv(f"{name}.gate", net.global_pool(f"{name}.average", x), 128, 1, layers="conv_bn_sigmoid")
    return net.op(f"{name}.gated", "gate_channels", x, gate)


def fuse(net: Layers, name: str, spatial: Value, context: Value, *, reduction: int) -> Value:
    """Feature fusion: 1x1 over both maps to 256 channels, and once more each times a gate from the averages of all.

    Yu et al., "BiSeNet", ECCV 2018, arXiv:1808.00897, section 3.3.

    Args:
        net: The network.
        name: Of the part.
        spatial: [N, C, h, w].
        context: [N, C', h, w].
        reduction: Channels over those inside of the gate.

    Returns:
        [N, 256, h, w].
    """
    x = net.conv(f"{name}.conv", net.concat(f"{name}.concat", [spatial, context]), 256, 1)
    gate = net.conv(f"{name}.reduce", net.global_pool(f"{name}.average", x), 256 // reduction, 1, layers="conv")
    gate = net.conv(f"{name}.expand", net.relu(f"{name}.relu", gate), 256, 1, layers="conv")
    gated = net.op(f"{name}.gated", "gate_channels", x, net.op(f"{name}.gate", "sigmoid", gate))
    return net.add(f"{name}.sum", x, gated)


def predict(net: Layers, name: str, x: Value, channels: int, *, bias: bool) -> Value:
    """Head: 3x3, then the scores of the classes."""
    return net.classifier(f"{name}.classifier", net.conv(f"{name}.conv", x, channels), bias=bias)
