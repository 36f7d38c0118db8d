"""Folding of batch norms: same function, the module given left alone, and refusals where it would not be the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nas.exporting.folding import batch_norms, fold_batch_norms
from nas.network.build import build_network
from nas.ops import OpSpec, build
from nas.space.design import design_of
from search_spaces import SEARCH_SPACES
from tests.random_weights import as_if_trained
from tests.small_jobs import random_genotype


def largest_difference(one, other, *shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return float((one(x) - other(x)).abs().max())


@pytest.mark.parametrize("seed", range(4))
def test_folded_network_computes_the_same_without_batch_norms(tmp_path, seed):
    network = build_network(design_of(random_genotype(tmp_path / "genotype.yaml", seed=seed), SEARCH_SPACES))
    as_if_trained(network, seed)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    folded = fold_batch_norms(network)
    assert batch_norms(network) > 10
    assert batch_norms(folded) == 0
    x = torch.randn(2, 3, 51, 69, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        scale = max(1.0, float(network(x).abs().max()))
        assert float((folded(x) - network(x)).abs().max()) / scale < 1e-5
    assert list(before) == list(network.state_dict())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_folding_is_exact_in_float64(tmp_path):
    network = as_if_trained(build_network(design_of(random_genotype(tmp_path / "genotype.yaml"), SEARCH_SPACES))).double()
    x = torch.randn(2, 3, 48, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = network(x)
        assert torch.allclose(fold_batch_norms(network)(x), expected, rtol=1e-10, atol=1e-10)


def test_a_training_network_is_folded_as_it_evaluates():
    spec = OpSpec(kind="conv_bn_relu", in_channels=3, height=8, width=8, out_channels=4, out_height=8, out_width=8, kernel=3)
    module = as_if_trained(build(spec)).train()
    folded = fold_batch_norms(module)
    assert module.training
    assert largest_difference(folded, module.eval(), 2, 3, 8, 8) < 1e-5


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_groups_biases_and_plain_batch_norms(kind, groups, affine):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8, affine=affine)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.2, 4)
    module = nn.Sequential(kind(4, 8, 3, groups=groups, bias=not affine), norm).eval()
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    folded = fold_batch_norms(module)
    assert batch_norms(folded) == 0
    assert largest_difference(folded, module, 2, 4, 9, 7) < 1e-5


class ReadTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return self.bn(y) + y


class RunTwice(ReadTwice):
    def forward(self, x):
        return self.bn(self.conv(self.conv(x)))


class CutChannels(ReadTwice):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 1)

    def forward(self, x):
        return self.bn(self.conv(x)[:, 1:4])


REFUSED = {
    "no convolution": (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)), "^1: got a batch norm after _0, expected one after a conv"),
    "read elsewhere": (ReadTwice(), "^bn: got a batch norm of conv, which is read elsewhere too"),
    "runs twice": (RunTwice(), "^bn: got a batch norm after conv_1, expected one after a convolution that runs once"),
    "channels cut": (CutChannels(), "^bn: got a batch norm after getitem"),
    "no statistics": (
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
        "^1: got a batch norm without running statistics",
    ),
}


@pytest.mark.parametrize(("module", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_folded_is_refused_by_name(module, message):
    with pytest.raises(ValueError, match=message):
        fold_batch_norms(module)
