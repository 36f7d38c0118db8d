"""The trunk of STDC's networks, which PP-LiteSeg has too."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.layers import Layers

STDC1, STDC2 = (2, 2, 2), (4, 5, 3)
"""Modules at 1/8, 1/16 and 1/32 of the two trunks."""


def describe_trunk(net: Layers, blocks: tuple[int, int, int]) -> tuple[Value, Value, Value]:
    """Append the trunk of Fan et al., STDC, CVPR 2021, arXiv:2104.13188, section 3.1.

    Args:
        net: The network.
        blocks: Modules at 1/8, 1/16 and 1/32.

    Returns:
        256 channels at 1/8, 512 at 1/16, 1024 at 1/32.
    """
    x = net.conv("stem.1", net.conv("stem.0", net.image, 32, stride=2), 64, stride=2)
    maps = []
    for number, count in enumerate(blocks):
        for block in range(count):
            x = _short_term_dense_concatenate(net, f"stage.{number}.{block}", x, 256 * 2**number, halve=block == 0)
        maps.append(x)
    low, middle, high = maps
    return low, middle, high


def _short_term_dense_concatenate(net: Layers, name: str, x: Value, channels: int, *, halve: bool) -> Value:
    """A half, a quarter and twice an eighth of the channels, each from the one before; the first by 1x1, the others by 3x3."""
    first = y = net.conv(f"{name}.0", x, channels // 2, 1)
    if halve:
        y = net.depthwise(f"{name}.halve", first, layers="conv_bn", stride=2)
        first = net.pool(f"{name}.skip", first, 3, kind="avg_pool")
    maps = [first]
    for number, share in enumerate((4, 8, 8), start=1):
        y = net.conv(f"{name}.{number}", y, channels // share)
        maps.append(y)
    return net.concat(f"{name}.concat", maps)
