"""Chains of layers as kinds of operations: at most one convolution with what stands before and after it, measured as one.

The name of a kind lists its layers in order, `bn_relu_conv` for example. Nothing here loads PyTorch.
"""

from __future__ import annotations

NORMS = {"bn": 1e-5, "bn3": 1e-3}
"""Batch norms by the epsilon that is added to the variance."""
ACTIVATIONS = ("relu", "prelu", "prelu1", "leaky", "elu", "reu", "relu6", "hswish", "swish", "sigmoid", "hsigmoid")
"""`leaky` has a slope of 0.01 below 0, `reu` is x e^x there; `prelu` learns a slope for each channel, `prelu1` one for
all of them."""
CONVOLUTIONS = ("conv", "deconv")
"""A convolution without bias, and a transposed one whose result is cropped to the size of a second input."""
BIAS = "bias"
"""Directly after a convolution: it has a bias."""
LAYERS = (*CONVOLUTIONS, BIAS, *NORMS, *ACTIVATIONS)

CHAINS = (
    "bn",
    "bn_relu",
    "bn_relu6",
    "bn_leaky",
    "bn_prelu",
    "bn_prelu1",
    "bn3",
    "bn3_relu",
    "bn3_prelu",
    "relu",
    "leaky",
    "prelu",
    "prelu1",
    "reu",
    "sigmoid",
    "bn_relu_conv",
    "bn_relu_conv_bias",
    "relu6_conv_bn",
    "conv_bn",
    "conv_bn_prelu",
    "conv_bn_prelu1",
    "conv_bn_leaky",
    "conv_bn_elu",
    "conv_bn_reu",
    "conv_bn_hswish",
    "conv_bn_sigmoid",
    "conv_bn_hsigmoid",
    "conv_bn3",
    "conv_bn3_prelu",
    "conv_bn3_swish",
    "conv_bias_relu",
    "conv_bias_hswish",
    "conv_bias_relu6",
    "conv_bias_swish",
    "conv_bias_bn",
    "conv_bias_bn_relu",
    "conv_bias_bn3_relu",
    "conv_bias_bn3",
    "deconv",
    "deconv_bias",
    "deconv_bias_bn_relu",
    "deconv_bias_bn",
    "deconv_bias_bn_elu",
    "deconv_bias_bn3_relu",
    "deconv_bn_relu",
    "deconv_bn3_prelu",
)
"""The kinds that there are; `conv_bn_relu`, `relu_conv_bn`, `plain_conv`, `bare_conv`, `conv_sigmoid` have modules of their own."""


def layers_of(kind: str) -> tuple[str, ...]:
    """The layers of a chain.

    >>> layers_of("conv_bn3_prelu")
    ('conv', 'bn3', 'prelu')
    """
    return tuple(kind.split("_"))


def is_chain(kind: str) -> bool:
    """Whether a kind of operation is a chain of layers."""
    return kind in CHAINS
