"""FASSD-Net, L1 and L2: the encoder of FC-HarDNet, dilated asymmetric convolutions at 1/32 and in each step of the decoder."""

from __future__ import annotations

from functools import partial

from nas.space.graph import Graph, Value
from search_spaces.zoo.hand_made import HandMade, OfficialKeys, Outputs
from search_spaces.zoo.layers import Layers
from search_spaces.zoo.networks.hardnet import ENCODER, STEM, encoder, fused, hard_block, stem
from search_spaces.zoo.official_names import named_tensors

STAGES = ENCODER[:4]
PYRAMID = (12, 24, 36)
"""Dilations of the branches of the pyramid."""
DECODER_DILATIONS = (8, 4, 2)
"""Dilations in the steps of the decoder, the deepest first."""
PLAIN_CHANNELS = 64
"""Channels of a step of the decoder of L2."""


def describe(net: Layers, *, strides: tuple[int, ...], plain_decoder: bool = False) -> Outputs:
    """Append the network: scores at 1/4, of L1 at 1/6, of L2 at 1/8.

    Rosas-Arias, Benitez-Garcia, Portillo-Portillo, Sanchez-Perez, Yanai, "Fast and Accurate Real-Time Semantic Segmentation with
    Dilated Asymmetric Convolutions", ICPR 2020. Built is the authors' code, which alone has the parameters that the paper prints.
    Where the paper's figure 4 concatenates the branches of an MDA, the code sums them: a DABNet module (arXiv:1907.11357) with full
    convolutions, whose activations are PReLU. The halving 1x1 stands before it, so that the residual adds the result of that 1x1.
    Skips are the results of the dense blocks, not of the 1x1 convolutions that the paper's table II lists.

    Args:
        net: Where it goes.
        strides: Of the four convolutions of the stem.
        plain_decoder: Whether the decoder has a 3x3 convolution in place of each dense block.
    """
    skips, x = encoder(net, stem(net, strides), STAGES)
    x = _pyramid(net, "pyramid", x)
    for number, dilation in enumerate(DECODER_DILATIONS):
        name, (layers, growth, _) = f"decoder.{number}", STAGES[2 - number]
        x = _mda(net, f"{name}.mda", fused(net, name, x, skips[2 - number]), dilation)
        if plain_decoder:
            x = net.conv(f"{name}.conv", x, PLAIN_CHANNELS)
        else:
            x = hard_block(net, f"{name}.block", x, layers, growth)
    return Outputs(scores=net.classifier("classifier.conv", x), resize="resize_corners")


def _pyramid(net: Layers, name: str, x: Value) -> Value:
    """Dilated asymmetric pyramidal fusion (DAPF): a 1x1 convolution beside dilated 3x1 and 1x3 ones, to half of the channels."""
    half = x.channels // 2
    branches = [net.conv(f"{name}.pointwise", x, half, 1)]
    for dilation in PYRAMID:
        y = net.conv(f"{name}.{dilation}.vertical", x, half, (3, 1), dilation=dilation)
        branches.append(net.conv(f"{name}.{dilation}.horizontal", y, half, (1, 3), dilation=dilation))
    return net.conv(f"{name}.fuse", net.concat(f"{name}.concat", branches), x.channels, 1)


def _mda(net: Layers, name: str, x: Value, dilation: int) -> Value:
    """Multi-resolution dilated asymmetric module (MDA): 3x3 beside dilated 3x1 and 1x3 convolutions, and a residual."""
    half = x.channels // 2
    conv = partial(net.conv, layers="conv_bn3_prelu")
    y = conv(f"{name}.first", net.op(f"{name}.before", "bn3_prelu", x), half)
    detail = conv(f"{name}.detail", y, half)
    context = conv(f"{name}.vertical", y, half, (3, 1), dilation=dilation)
    context = conv(f"{name}.horizontal", context, half, (1, 3), dilation=dilation)
    y = net.op(f"{name}.after", "bn3_prelu", net.add(f"{name}.branches", detail, context))
    return net.add(f"{name}.sum", x, net.conv(f"{name}.last", y, x.channels, 1, layers="conv"))


_MDA = {
    "before": "bn_relu_1",
    "first": "conv3x3",
    "detail": "parallel_conv3x3",
    "vertical": "parallel_ddconv3x1",
    "horizontal": "parallel_ddconv1x3",
    "after": "bn_relu_2",
    "last": "conv1x1",
}


def official_keys(graph: Graph) -> OfficialKeys:
    """Names in the authors' checkpoints (GibranBenitez/FASSD-Net)."""
    return named_tensors(graph, _official)


def _official(module: str) -> dict[str, str]:
    """Layers of a module -> their official names."""
    part, *rest = module.split(".")
    if part == "pyramid":
        return _official_pyramid(rest)
    if part == "classifier":
        return {"conv": "finalConv"}
    if part == "decoder" and rest[1] == "mda":
        theirs = f"mda.{rest[0]}.{_MDA[rest[2]]}"
        norm = theirs if rest[2] in ("before", "after") else f"{theirs}.bn_prelu"
        return {"conv": f"{theirs}.conv", "bn": f"{norm}.bn", "prelu": f"{norm}.acti"}
    theirs = _official_conv(part, rest)
    return {"conv": f"{theirs}.conv", "bn": f"{theirs}.norm"}


def _official_pyramid(rest: list[str]) -> dict[str, str]:
    if len(rest) == 1:
        number = "1x1" if rest[0] == "pointwise" else "1"
        return {"conv": f"DAPF.conv{number}", "bn": f"DAPF.bn{number}"}
    branch, kernel = f"DAPF.pyBranch{PYRAMID.index(int(rest[0])) + 2}", "3x1" if rest[1] == "vertical" else "1x3"
    return {"conv": f"{branch}.atrous_conv{kernel}", "bn": f"{branch}.bn{kernel}"}


def _official_conv(part: str, rest: list[str]) -> str:
    """The official name of a convolution with batch norm and ReLU."""
    number = int(rest[0])
    if part == "stem":
        return f"base.{number}"
    if part == "encoder":
        block, transition = f"base.{4 + 3 * number}", f"base.{5 + 3 * number}"
    else:
        block, transition = f"denseBlocksUp.{number}", f"conv1x1_up.{number}"
    if rest[1] == "block":
        return f"{block}.layers.{int(rest[2]) - 1}"
    return block if rest[1] == "conv" else transition


NETWORKS = {
    name: HandMade(stem_channels=STEM[0], describe=described, official_keys=official_keys)
    for name, described in {
        "fassd_net": partial(describe, strides=(2, 1, 2, 1)),
        "fassd_net_l1": partial(describe, strides=(3, 1, 2, 1)),
        "fassd_net_l2": partial(describe, strides=(2, 2, 2, 1), plain_decoder=True),
    }.items()
}
