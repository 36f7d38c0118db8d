"""LinkNet: ResNet-18, transposed convolutions back to the size of the image, sums with the encoder's maps."""

from __future__ import annotations

from nas.space.graph import Value
from search_spaces.zoo.hand_made import HandMade, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.trunks import resnet

HEAD_CHANNELS = 32


def describe(net: Layers) -> Outputs:
    """Append the network: scores at the size of the image.

    Chaurasia, Culurciello, "LinkNet: Exploiting Encoder Representations for Efficient Semantic Segmentation", VCIP 2017,
    arXiv:1707.03718. The last sum reads the pooled stem, and the first and the last convolutions of the head have a bias, as in the
    authors' code, whose log-softmax is left out. It takes multiples of 32 alone; here transposed convolutions are cropped to the
    map that they meet.
    """
    stem = net.conv("stem.conv", net.image, 64, 7, stride=2)
    pooled = net.pool("stem.pool", stem, 3)
    skips = [pooled, *(stage.out for stage in resnet(net, pooled))]
    x = skips.pop()
    for number, skip in enumerate(reversed(skips)):
        x = net.add(f"decoder.{number}.sum", skip, _decoder(net, f"decoder.{number}", x, skip, stride=1 if skip is pooled else 2))
    x = net.deconv("head.up", x, stem, HEAD_CHANNELS, layers="deconv_bias_bn_relu")
    x = net.conv("head.conv", x, HEAD_CHANNELS, layers="conv_bias_bn_relu")
    return Outputs(scores=net.deconv("classifier.up", x, net.image, net.num_classes, 2))


def _decoder(net: Layers, name: str, x: Value, skip: Value, *, stride: int) -> Value:
    """1x1 to a quarter, transposed 3x3 to the size of the skip, 1x1 to its channels."""
    y = net.conv(f"{name}.reduce", x, x.channels // 4, 1)
    y = net.deconv(f"{name}.up", y, skip, y.channels, layers="deconv_bn_relu", stride=stride)
    return net.conv(f"{name}.expand", y, skip.channels, 1)


NETWORKS = {"linknet": HandMade(stem_channels=64, describe=describe)}
