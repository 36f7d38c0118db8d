"""The inverted residual without its residual: expand, filter, project."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from nas.ops.modules import fan_out_init
from nas.ops.spec import OpSpec


class InvertedResidual(nn.Module):
    """Inverted residual without its sum: y = BN(P relu(BN(D * relu(BN(E x))))).

    E is a 1x1 convolution to e Cin channels, D a depthwise one of k x k, P a 1x1 convolution to Cout.

    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv:1801.04381, in the form of the
    official code of SqueezeNAS (Shaw et al., ICCV Workshops 2019, arXiv:1908.01748): ReLU in place of ReLU6, groups split E and P
    without a shuffle, E is there even if e = 1. A space that adds the input does so in a node of its own.

    Args:
        spec: Channels, kernel k, stride s and dilation of D, groups of E and P, expansion e.

    Shapes:
        [N, Cin, H, W] -> [N, Cout, ceil(H / s), ceil(W / s)].
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        hidden = spec.expansion * spec.in_channels
        self.expand = nn.Conv2d(spec.in_channels, hidden, 1, groups=spec.groups, bias=False)
        self.expand_bn = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(
            hidden,
            hidden,
            spec.kernel,
            stride=spec.stride,
            padding=spec.dilation * (spec.kernel // 2),
            dilation=spec.dilation,
            groups=hidden,
            bias=False,
        )
        self.depthwise_bn = nn.BatchNorm2d(hidden)
        self.project = nn.Conv2d(hidden, spec.out_channels, 1, groups=spec.groups, bias=False)
        self.project_bn = nn.BatchNorm2d(spec.out_channels)
        for conv in (self.expand, self.depthwise, self.project):
            fan_out_init(conv)

    def forward(self, x: Tensor) -> Tensor:
        """[N, Cin, H, W] -> [N, Cout, ceil(H / stride), ceil(W / stride)]."""
        x = functional.relu(self.expand_bn(self.expand(x)))
        x = functional.relu(self.depthwise_bn(self.depthwise(x)))
        output: Tensor = self.project_bn(self.project(x))
        return output
