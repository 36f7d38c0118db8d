"""SQNet: an encoder of fire modules, parallel dilated convolutions, transposed convolutions with refined skips."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers

STEM = 64
FIRES = ((128, 128), (256, 256), (384, 384, 512, 512))
"""Channels of the fire modules at 1/4, 1/8 and 1/16."""
DILATIONS = (1, 2, 4, 8)
CONTEXT = 128
"""Channels of the dilated convolutions."""
REFINED = (128, 64)
"""Channels after the refinement at 1/8 and at 1/4; at 1/2 there are as many as classes."""
LAYERS = "conv_bn_elu"
UP = "deconv_bias_bn_elu"


def describe(net: Layers) -> Outputs:
    """Append the network: scores at full size.

    Treml, Arjona-Medina, Unterthiner, Durgesh, Friedmann, Schuberth, Mayr, Heusel, Hofmarcher, Widrich, Bodenhofer, Nessler,
    Hochreiter, "Speeding up Semantic Segmentation for Autonomous Driving", NIPS Workshop MLITS 2016. The paper gives no number of
    parameters, and re-implementations differ: this is the one with a bottleneck of 128 channels. Its batch norm after the last
    transposed convolution stays, its ELU there, which no score below -1 passes, does not.
    """
    x = net.conv("stem", net.image, STEM, layers=LAYERS, stride=2)
    skips = [x]
    for number, widths in enumerate(FIRES):
        x = net.pool(f"encoder.{number}.pool", x, 3)
        for position, channels in enumerate(widths):
            x = _fire(net, f"encoder.{number}.{position}", x, channels)
        skips.append(x)
    x = skips.pop()
    branches = [net.conv(f"context.{rate}", x, CONTEXT, layers=LAYERS, dilation=rate) for rate in DILATIONS]
    x = net.add("context.sum", *branches)
    for number, channels in enumerate((*REFINED, net.num_classes)):
        skip = skips.pop()
        x = net.deconv(f"decoder.{number}.up", x, skip, x.channels, layers=UP)
        skip = net.conv(f"decoder.{number}.skip", skip, skip.channels, layers=LAYERS)
        x = net.conv(f"decoder.{number}.refine", net.concat(f"decoder.{number}.concat", [skip, x]), channels, layers=LAYERS)
    return Outputs(scores=net.deconv("classifier", x, net.image, net.num_classes, layers="deconv_bias_bn"))


def _fire(net: Layers, name: str, x: Value, channels: int) -> Value:
    """Squeeze to an eighth, then 1x1 beside 3x3 (SqueezeNet, arXiv:1602.07360)."""
    squeezed = net.conv(f"{name}.squeeze", x, channels // 8, 1, layers=LAYERS)
    halves = [net.conv(f"{name}.expand.{kernel}", squeezed, channels // 2, kernel, layers=LAYERS) for kernel in (1, 3)]
    return net.concat(f"{name}.concat", halves)


NETWORKS = {"sqnet": HandMade(stem_channels=STEM, describe=describe)}
