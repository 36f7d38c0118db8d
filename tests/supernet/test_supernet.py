"""The supernet: parameters split in two, one draw for network and latency, and what derivation makes of it."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from nas.network.build import build_network
from nas.network.supernet_weights import copy_weights
from nas.space.choice import argmax_choices
from nas.space.design import design_of
from nas.space.genotype import Genotype
from nas.space.weights import Weights, one_hot
from nas.supernet.relaxation import sample
from nas.supernet.supernet import Draw
from search_spaces import SEARCH_SPACES
from tests.small_jobs import batch, search_job, search_task


def make_supernet(**changes):
    return search_task(search_job(**changes)).supernet


def draw(relaxation="soft", *, tau=1.0, seed=0):
    return Draw(relaxation, tau, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("head", ["dcfc", "none"])
@pytest.mark.parametrize("communication", ["gcn", "none"])
def test_parameters_are_split_in_two_disjoint_and_complete(communication, head):
    supernet = make_supernet(space__communication=communication, space__head=head)
    arch, weights = ([id(p) for p in ps] for ps in (supernet.arch_parameters(), supernet.weight_parameters()))
    both = [*arch, *weights]
    assert len(both) == len(set(both))
    assert set(both) == {id(parameter) for parameter in supernet.parameters()}
    named = dict(supernet.named_parameters())
    assert {id(p) for name, p in named.items() if ".alpha." in name} <= set(arch)
    guided = [name for name, p in named.items() if id(p) in arch and ".alpha." not in name]
    assert bool(guided) == (communication == "gcn")
    assert all("communication" in name for name in guided)
    assert sorted(id(p) for p in supernet.communication_parameters()) == sorted(id(named[name]) for name in guided)
    assert sorted(arch) == sorted(id(p) for ps in (supernet.alpha_parameters(), supernet.communication_parameters()) for p in ps)


@pytest.mark.parametrize("communication", ["gcn", "none"])
def test_alphas_are_in_the_state_and_come_back_from_it(communication):
    one, other = (make_supernet(space__communication=communication, seed=seed) for seed in (0, 1))
    state = one.state_dict()
    assert {f"architectures.default.alpha.cell_{cell}" for cell in range(3)} <= state.keys()
    assert not torch.equal(other.architectures["default"].alpha["cell_1"], one.architectures["default"].alpha["cell_1"])
    other.load_state_dict(state)
    for group, logits in one.guided_logits()["default"].items():
        assert torch.equal(other.guided_logits()["default"][group], logits)


@pytest.mark.parametrize("relaxation", ["soft", "hard", "sampled"])
def test_network_and_latency_get_the_same_weights_of_the_guided_logits(relaxation):
    supernet = make_supernet().eval()
    images, _ = batch()
    (logits,), latency = supernet(images, draw(relaxation, tau=0.5))
    weights = sample(
        supernet.architectures["default"](),
        supernet.space.choices(),
        relaxation=relaxation,
        tau=0.5,
        generator=torch.Generator().manual_seed(0),
        never_all=supernet.space.never_all(),
    )
    assert logits.shape == (2, 11, 48, 64)
    assert torch.equal(logits, supernet.network(images, weights))
    assert torch.equal(latency, supernet.latencies[0](weights)[None])


def test_there_is_no_latency_without_a_table():
    supernet = make_supernet(latency__table="none", latency__weight=0.0)
    _, latency = supernet(batch()[0], draw())
    assert (latency.shape, len(supernet.latencies)) == ((0,), 0)


def test_derive_takes_the_largest_guided_logit_not_the_largest_logit():
    supernet = make_supernet()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in supernet.arch_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    derivation = supernet.space.derive(supernet.guided_logits())["default"]
    guided = argmax_choices(supernet.guided_logits()["default"], supernet.space.choices())
    plain = argmax_choices(dict(supernet.architectures["default"].alpha), supernet.space.choices())
    mended = {repair.split(":")[0] for repair in derivation.repairs}
    assert plain != guided
    assert {name: o for name, o in derivation.choices.items() if name not in mended} == {
        name: o for name, o in guided.items() if name not in mended
    }


@pytest.mark.parametrize("relaxation", ["soft", "sampled"])
def test_derived_network_with_copied_weights_equals_the_trained_supernet_at_its_argmax(relaxation):
    job = search_job(search__relaxation=relaxation, search__arch_lr=0.1, search__epochs=3)
    task = search_task(job)
    for step in range(6):
        task.step(*batch(step), step)
    supernet = task.supernet.eval()
    choices = dict(supernet.space.derive(supernet.guided_logits())["default"].choices)
    deploy = dataclasses.replace(task.deploy, init_channels=job.search.init_channels)
    genotype = Genotype("lgcnet", dataclasses.asdict(job.space), deploy, choices, {})
    derived = build_network(design_of(genotype, SEARCH_SPACES)).eval()
    copy_weights(supernet.network, derived, choices)
    decided = one_hot(choices, supernet.space.choices())
    everything = Weights(decided.values, {})  # all candidates run, all but one weighted zero
    for seed, size in ((7, (48, 64)), (8, (37, 53))):
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            expected = derived(images)
            for weights in (decided, everything):
                torch.testing.assert_close(supernet.network(images, weights), expected, rtol=1e-5, atol=1e-5)
    assert float(expected.std()) > 0.01


def test_a_copied_supernet_shares_nothing_with_the_original():
    supernet = make_supernet()
    other = copy.deepcopy(supernet)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    images, _ = batch()
    ours, theirs = (net.eval()(images, draw())[1] for net in (supernet, other))
    assert torch.equal(ours, make_supernet().eval()(images, draw())[1])
    assert not any(torch.equal(p, q) for p, q in zip(supernet.parameters(), other.parameters(), strict=True))
    assert theirs.isfinite()
