"""The inverted residual without its residual: expand, filter, project (MobileNetV2, arXiv 1801.04381; SqueezeNAS)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from nas.ops.modules import fan_out_init
from nas.ops.spec import OpSpec


class InvertedResidual(nn.Module):
    """1x1 convolution to e Cin channels, depthwise kxk, 1x1 convolution to Cout; BN behind each, ReLU behind the first two.

    Groups split both 1x1 convolutions, and nothing is shuffled between them. The first 1x1 convolution is there even if e = 1.
    No input is added: where a space wants that, it is a node of its own.
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


def inverted_residual_macs(spec: OpSpec) -> int:
    """With h = e Cin: Cin h / g at the input's size, then (k^2 + Cout / g) h at the output's."""
    hidden = spec.expansion * spec.in_channels
    expand = spec.in_channels * hidden // spec.groups * spec.height * spec.width
    rest = (spec.kernel**2 + spec.out_channels // spec.groups) * hidden * spec.out_height * spec.out_width
    return expand + rest
