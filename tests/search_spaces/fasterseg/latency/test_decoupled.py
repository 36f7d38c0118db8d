"""The terms of the latency loss: which decisions are the learned ones in each."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nas.cost import MacsTable
from nas.space.deployment import Deployment
from nas.space.weights import Weights
from nas.supernet.architecture import group_shapes
from nas.supernet.relaxation import sample
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.fasterseg.latency.decoupled import decoupled
from search_spaces.fasterseg.latency.deployed_lattice import DeployedLattice
from search_spaces.fasterseg.latency.expected import lattice_latency
from search_spaces.fasterseg.lattice.lattice_choices import lattice_choices

LEARNED = ("op_", "input_", "width_")


def drawn_weights(config: FasterSegConfig, *, batch: int | None = None) -> tuple[Weights, dict[str, Tensor]]:
    """Weights as a search draws them for the student, and their logits."""
    generator = torch.Generator().manual_seed(0)
    choices = lattice_choices(config)
    logits = {g: torch.randn(shape, generator=generator).requires_grad_() for g, shape in group_shapes(choices).items()}
    if batch is None:
        drawn = sample(logits, choices, relaxation="soft", tau=1.0, generator=generator, architecture="student")
    else:
        softened = [type(choice)(choice.name, choice.options, choice.group, choice.row) for choice in choices]
        drawn = sample(logits, softened, relaxation="hard", tau=1.0, generator=generator, batch=batch)
    return drawn.fix({"stem.width": 0, "head.width": 0}), logits


@pytest.mark.parametrize("batch", [None, 3])
def test_a_term_holds_all_decisions_but_those_that_it_is_about(batch):
    config = FasterSegConfig(layers=5, widths=[4, 8, 12])
    weights, _ = drawn_weights(config, batch=batch)
    terms = decoupled(weights, config)
    assert [share for share, _ in terms] == [1 / 500, 497 / 500, 2 / 500]
    for learned, (_, term) in zip(LEARNED, terms, strict=True):
        assert list(term.values) == list(weights.values)
        assert term.architecture == weights.architecture
        for choice in lattice_choices(config):
            z, index = term.values[choice.name], term.drawn.get(choice.name)
            if choice.group.startswith((learned, "stem", "head")):
                assert z is weights.values[choice.name]
                assert index == weights.drawn.get(choice.name)
                continue
            assert z.shape == weights.values[choice.name].shape
            width = choice.group.startswith("width")
            expected = torch.eye(3)[2] if width else torch.full((len(choice.options),), 1 / len(choice.options))
            assert torch.equal(z, expected.expand(z.shape))
            assert index == (2 if width else None)


@pytest.mark.parametrize("fidelity", ["corrected", "official"])
def test_each_term_has_gradients_for_its_own_parameters_alone(fidelity):
    config = FasterSegConfig(layers=5, widths=[4, 8, 12], fidelity=fidelity)
    latency = lattice_latency(DeployedLattice(config, Deployment((64, 128), 4, 3)), MacsTable().cost)
    weights, logits = drawn_weights(config)
    for learned, (_, term) in zip(LEARNED, decoupled(weights, config), strict=True):
        gradients = torch.autograd.grad(
            latency(term), list(logits.values()), allow_unused=True, materialize_grads=True, retain_graph=True
        )
        changed = {group for group, gradient in zip(logits, gradients, strict=True) if gradient.any()}
        unseen = {"input_16"} if fidelity == "official" else set()  # Q2
        assert changed == {group for group in logits if group.startswith(learned)} - unseen


def test_with_a_single_width_there_are_two_terms():
    config = FasterSegConfig(layers=4, widths=[12])
    weights, _ = drawn_weights(config)
    terms = decoupled(weights, config)
    assert [share for share, _ in terms] == [1 / 500, 499 / 500]
    assert terms[0][1].values["cells.1.8.op"] is weights.values["cells.1.8.op"]
    assert terms[1][1].values["cells.2.16.input"] is weights.values["cells.2.16.input"]
