"""The modules of chains of layers: a convolution or a transposed one, batch norm and activation in any order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.ops.chains import BIAS, CONVOLUTIONS, NORMS, layers_of
from nas.ops.modules import fan_out_init, padded_conv
from nas.ops.spec import OpSpec


def reu(x: Tensor) -> Tensor:
    """Rectified exponential unit: x above 0, x e^x elsewhere.

    Ying et al., "Rectified Exponential Units for Convolutional Neural Networks", IEEE Access 7, 2019, as JetSeg uses it
    (arXiv:2305.11419).
    """
    return x * x.clamp(max=0).exp()


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "leaky": functional.leaky_relu,
    "elu": functional.elu,
    "reu": reu,
    "relu6": functional.relu6,
    "hswish": functional.hardswish,
    "swish": functional.silu,
    "sigmoid": torch.sigmoid,
    "hsigmoid": functional.hardsigmoid,
}
"""Activations without weights."""


class LayerChain(nn.Module):
    """Layers one after the other, as the kind of the spec lists them.

    Conv-BN-ReLU is that of Ioffe, Szegedy, "Batch Normalization", ICML 2015, arXiv:1502.03167, BN-ReLU-conv that of He et al.,
    "Identity Mappings in Deep Residual Networks", ECCV 2016, arXiv:1603.05027, PReLU that of He et al., "Delving Deep into
    Rectifiers", ICCV 2015, arXiv:1502.01852.

    Args:
        spec: Kind; channels; kernel (along the width another one, if so), stride s, dilation and groups of the convolution.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.layers = layers_of(spec.kind)
        channels = spec.in_channels
        for layer in self.layers:
            if layer in CONVOLUTIONS:
                self.conv = self._convolution(spec, bias=BIAS in self.layers)
                channels = spec.out_channels
            elif layer in NORMS:
                self.bn = nn.BatchNorm2d(channels, eps=NORMS[layer])
            elif layer in ("prelu", "prelu1"):
                self.prelu = nn.PReLU(channels if layer == "prelu" else 1)

    def _convolution(self, spec: OpSpec, *, bias: bool) -> nn.Module:
        return padded_conv(spec, spec.in_channels, spec.out_channels, groups=spec.groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers in their order."""
        for layer in self.layers:
            if layer != BIAS:
                x = self.conv(x) if layer == "conv" else self._pointwise(layer, x)
        return x

    def _pointwise(self, layer: str, x: Tensor) -> Tensor:
        """Norm or activation."""
        if layer in FUNCTIONS:
            return FUNCTIONS[layer](x)
        output: Tensor = self.bn(x) if layer in NORMS else self.prelu(x)
        return output


class TransposedChain(LayerChain):
    """A transposed convolution that multiplies the size by its stride, cropped to a second input; then the other layers.

    The deconvolution of Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
    arXiv:1411.4038. At sizes that the stride divides nothing is cropped.

    Args:
        spec: Kind; channels; kernel k, stride s and groups.

    Shapes:
        x [N, Cin, H, W], like [N, *, H', W'] -> [N, Cout, H', W'], s (H - 1) < H' <= s H, W' likewise.
    """

    def _convolution(self, spec: OpSpec, *, bias: bool) -> nn.Module:
        padding = (spec.kernel - 1) // 2
        conv = nn.ConvTranspose2d(
            spec.in_channels,
            spec.out_channels,
            spec.kernel,
            stride=spec.stride,
            padding=padding,
            output_padding=spec.stride - spec.kernel + 2 * padding,
            groups=spec.groups,
            bias=bias,
        )
        fan_out_init(conv)
        return conv

    def forward(self, x: Tensor, like: Tensor) -> Tensor:  # type: ignore[override]
        """Apply the layers in their order; `like` is any map of the wanted size."""
        for layer in self.layers:
            if layer == "deconv":
                x = self.conv(x)[:, :, : like.shape[2], : like.shape[3]]
            elif layer != BIAS:
                x = self._pointwise(layer, x)
        return x


def build_chain(spec: OpSpec) -> nn.Module:
    """The module of a chain."""
    return TransposedChain(spec) if "deconv" in layers_of(spec.kind) else LayerChain(spec)
