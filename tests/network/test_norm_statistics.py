"""Batch-norm statistics estimated anew: the average over the batches, for what runs only, and back afterwards."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.network.norm_statistics import estimated_anew


def _network() -> nn.ModuleDict:
    torch.manual_seed(0)
    network = nn.ModuleDict({"used": nn.BatchNorm2d(3), "idle": nn.BatchNorm2d(3)})
    for norm in network.values():
        norm.running_mean.uniform_(-3, 3)
        norm.running_var.uniform_(2, 9)
    return network


def _batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 3, 5, 6, generator=generator) * scale + scale for scale in (1.0, 2.0, 4.0)]


def test_statistics_are_the_average_over_the_batches_for_what_runs() -> None:
    network, batches = _network().eval(), _batches()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with estimated_anew(network, lambda images: network["used"](images), batches):
        used = network["used"]
        mean = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in batches]).mean(dim=0)
        variance = torch.stack([batch.var(dim=(0, 2, 3), unbiased=True) for batch in batches]).mean(dim=0)
        torch.testing.assert_close(used.running_mean, mean)
        torch.testing.assert_close(used.running_var, variance)
        assert not used.training
        assert torch.equal(network["idle"].running_mean, before["idle.running_mean"])
    after = network.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_modes_and_statistics_come_back_even_after_an_error() -> None:
    network = _network().train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    try:
        with estimated_anew(network, lambda images: network["used"](images), _batches()):
            raise RuntimeError("evaluation failed")
    except RuntimeError:
        pass
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(norm.training and norm.momentum == 0.1 for norm in network.values())


def test_without_batches_nothing_changes() -> None:
    network = _network().eval()
    before = network["used"].running_mean.clone()
    with estimated_anew(network, lambda images: network["used"](images), []):
        assert torch.equal(network["used"].running_mean, before)


def test_evaluation_of_shifted_data_becomes_normal() -> None:
    network, batches = _network().eval(), _batches()
    with estimated_anew(network, lambda images: network["used"](images), batches):
        output = torch.cat([network["used"](batch) for batch in batches])
    assert output.mean().abs() < 0.5
    stale = torch.cat([network["used"](batch) for batch in batches])
    assert (stale - output).abs().max() > 0.1
