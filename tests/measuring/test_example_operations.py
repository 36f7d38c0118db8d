"""Operations and networks as they are timed."""

from __future__ import annotations

from statistics import median

import pytest
import torch
from torch import nn

from nas.measuring.example_operations import example_images, example_network, example_operation
from nas.network.build import build_network
from nas.ops.spec import OpSpec
from nas.space.deployment import Deployment
from nas.space.design import Design, load_design
from search_spaces import all_spaces

SIZE = (64, 96)


def test_an_operation_reads_numbers_as_smooth_as_those_of_a_trained_network() -> None:
    before = torch.random.get_rng_state()
    _, (first, second) = example_operation(OpSpec.from_key("add in=6x40x50 out=6x40x50 k=1 s=1 d=1 g=1"), batch=2)
    assert first.shape == second.shape == (2, 6, 40, 50)
    assert 0.15 < _changes(first) < 0.25
    assert 0.08 < _changes(example_images((40, 50), batch=2)) < 0.16
    assert torch.equal(before, torch.random.get_rng_state())


def test_networks_with_prelus_have_signs_mixed_as_trained_ones_and_others_are_as_they_were() -> None:
    before = torch.random.get_rng_state()
    settled, plain = _network("zoo/enet"), _network("zoo/fast_scnn")
    assert torch.equal(before, torch.random.get_rng_state())
    assert {settled.training, plain.training} == {False}
    assert {norm.momentum for norm in _norms(settled)} == {norm.momentum for norm in _norms(build_network(_design("zoo/enet")))}
    assert all(bool(norm.running_var.eq(1).all()) for norm in _norms(plain) if norm.running_var is not None)
    changes: list[float] = []
    for module in settled.modules():
        if isinstance(module, nn.PReLU):
            module.register_forward_pre_hook(lambda _, inputs: changes.append(_changes(inputs[0])))
    with torch.no_grad():
        settled(example_images(SIZE, batch=1))
    assert 0.15 < sum(changes) / len(changes) < 0.45


@pytest.mark.parametrize("name", ["zoo/enet", "zoo/jetseg_nano"])
def test_batch_norms_before_activations_that_mind_values_give_numbers_as_in_a_trained_network(name: str) -> None:
    deviations: list[float] = []
    network = _network(name)
    for norm in _norms(network):
        norm.register_forward_hook(lambda *given: deviations.append(float(given[-1].std())))
    with torch.no_grad():
        network(example_images(SIZE, batch=2))
    assert 0.9 < median(deviations) <= max(deviations) < 1.1  # a map that hardly varies is not spread


def _network(name: str) -> nn.Module:
    return example_network(lambda: build_network(_design(name)), size=SIZE, seed=0)


def _design(name: str) -> Design:
    design = load_design(name, all_spaces())
    return design.deployed(Deployment(SIZE, design.deployment.init_channels, 11))


def _norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def _changes(values: torch.Tensor) -> float:
    """Share of neighbours in a row whose signs differ."""
    return float(((values[..., 1:] > 0) != (values[..., :-1] > 0)).float().mean())
