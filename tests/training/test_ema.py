"""The moving average of weights against an independent recursion."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nas.training.ema import average_into, averaged_copy, decay_at


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


@pytest.mark.parametrize(
    ("step", "decay", "expected"), [(0, 0.999, 0.1), (1, 0.999, 2 / 11), (10**6, 0.999, 0.999), (90, 0.5, 0.5)]
)
def test_decay_grows_to_its_bound(step, decay, expected):
    assert decay_at(step, decay) == pytest.approx(expected)


def test_average_follows_weights_and_running_statistics_and_copies_counts():
    network = small_network()
    average = averaged_copy(network)
    expected = {name: value.double().clone() for name, value in network.state_dict().items()}
    for number in range(4):
        network.train()(torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(number)))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.1
        average_into(average, network, 0.75)
        for name, value in network.state_dict().items():
            expected[name] = 0.75 * expected[name] + 0.25 * value.double()
    for name, value in average.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert int(value) == 4
        else:
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
            assert not torch.equal(value, network.state_dict()[name])


def test_copy_is_apart_from_the_network_needs_no_gradient_and_is_in_evaluation_mode():
    network = small_network().train()
    average = averaged_copy(network)
    assert not average.training
    assert network.training
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network[0].weight.data.zero_()
    average_into(average, network, 0.0)
    assert not average[0].weight.any()
    average[0].weight.add_(1)
    assert not network[0].weight.any()
    assert before["0.bias"].equal(network[0].bias)


def test_decay_zero_is_the_network_itself():
    network = small_network()
    average = averaged_copy(network)
    network(torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)))
    average_into(average, network, 0.0)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in average.state_dict().items())
