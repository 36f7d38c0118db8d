"""Chains of layers: each kind against PyTorch's functions applied one after the other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from nas.ops import OpSpec, build
from nas.ops.layer_chain import reu
from tests.random_weights import as_if_trained


def spec_of(kind: str, **fields: int) -> OpSpec:
    shape = {"in_channels": 4, "height": 7, "width": 5, "out_channels": 6, "out_height": 7, "out_width": 5}
    return OpSpec(kind=kind, **{**shape, **fields})


def test_bn_relu_conv_is_batch_norm_then_relu_then_the_convolution():
    module = as_if_trained(build(spec_of("bn_relu_conv", kernel=3, dilation=2)), 0).eval()
    x = torch.randn(2, 4, 7, 5)
    norm = functional.batch_norm(x, module.bn.running_mean, module.bn.running_var, module.bn.weight, module.bn.bias, eps=1e-5)
    expected = functional.conv2d(functional.relu(norm), module.conv.weight, padding=2, dilation=2)
    assert torch.allclose(module(x), expected, atol=1e-6)


def test_a_narrow_kernel_has_its_own_padding_and_the_norm_its_epsilon():
    module = as_if_trained(build(spec_of("conv_bn3_prelu", kernel=3, kernel_width=1, dilation=2)), 0).eval()
    x = torch.randn(2, 4, 7, 5)
    assert module.conv.weight.shape == (6, 4, 3, 1)
    y = functional.conv2d(x, module.conv.weight, padding=(2, 0), dilation=2)
    y = functional.batch_norm(y, module.bn.running_mean, module.bn.running_var, module.bn.weight, module.bn.bias, eps=1e-3)
    assert torch.allclose(module(x), functional.prelu(y, module.prelu.weight), atol=1e-6)
    assert module.conv.bias is None


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (4, 2), (3, 1)])
def test_a_transposed_convolution_multiplies_the_size_and_is_cropped(kernel: int, stride: int):
    module = build(spec_of("deconv_bias", kernel=kernel, stride=stride, out_height=7 * stride, out_width=5 * stride))
    x = torch.randn(2, 4, 7, 5)
    whole = module(x, torch.zeros(1, 1, 7 * stride, 5 * stride))
    assert whole.shape == (2, 6, 7 * stride, 5 * stride)
    cut = module(x, torch.zeros(1, 9, 7 * stride - stride + 1, 5 * stride))
    assert torch.equal(cut, whole[:, :, : 7 * stride - stride + 1])
    assert isinstance(module.conv, nn.ConvTranspose2d)


def test_reu_and_its_gradient_are_finite_everywhere():
    x = torch.tensor([-200.0, -1.0, 0.0, 2.0, 200.0], requires_grad=True)
    y = reu(x)
    assert y.tolist() == pytest.approx([0.0, -math.exp(-1), 0.0, 2.0, 200.0])
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist()[1:] == pytest.approx([0.0, 1.0, 1.0, 1.0])
