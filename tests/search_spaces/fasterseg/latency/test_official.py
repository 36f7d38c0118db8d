"""The official latency of the lattice: the reference's numbers, from the official table."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from nas.cost import MacsTable
from nas.errors import ConfigError
from nas.ops import OpSpec
from nas.space.deployment import Deployment
from nas.space.weights import Weights
from nas.space.weights import uniform as uniform_weights
from nas.supernet.architecture import group_shapes
from nas.supernet.relaxation import sample
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.fasterseg.latency.decoupled import decoupled
from search_spaces.fasterseg.latency.deployed_lattice import DeployedLattice
from search_spaces.fasterseg.latency.official import OfficialLatticeLatency
from search_spaces.fasterseg.lattice.lattice_choices import lattice_choices
from tests.fasterseg_reference import FOLDER, NETWORKS, lattice_row_of, needs_reference, official_table

CONFIG = FasterSegConfig(fidelity="official")
CHOICES = lattice_choices(CONFIG)
LATTICE = DeployedLattice(CONFIG, Deployment((1024, 2048), 12, 19))
STEM_AND_HEAD = {"teacher": 4, "student": 2}
"""Index of the width that an architecture has there."""


@pytest.fixture(scope="module")
def latency() -> OfficialLatticeLatency:
    table = official_table()

    def cost(spec: OpSpec) -> float:
        # Stems of other widths were not measured. No architecture has them; a number this large would be seen.
        return table.get(lattice_row_of(spec), 1e9) if spec.height > 128 else table[lattice_row_of(spec)]

    return OfficialLatticeLatency(LATTICE, cost)


def initial_logits() -> dict[str, Tensor]:
    return {group: torch.full(shape, 1e-3, dtype=torch.float64) for group, shape in group_shapes(CHOICES).items()}


def released_logits(name: str) -> dict[str, Tensor]:
    """The released parameters; the teacher's ratios, which have one column, are unused."""
    stated = json.loads((FOLDER / f"arch_{name}.json").read_text())
    logits = initial_logits()
    for scale, stride in enumerate((8, 16, 32)):
        logits[f"op_{stride}"] = torch.tensor(stated["alphas"][scale], dtype=torch.float64)
        if scale:
            logits[f"input_{stride}"] = torch.tensor(stated["betas"][scale], dtype=torch.float64)
    return logits


def weights_of(name: str, logits: dict[str, Tensor]) -> Weights:
    drawn = sample(logits, CHOICES, relaxation="soft", tau=1.0, generator=torch.Generator().manual_seed(0))
    index = STEM_AND_HEAD[name]
    return drawn.fix({"stem.width": index, "head.width": index})


def at_width(weights: Weights, index: int) -> Weights:
    """All decisions uniform but the widths between layers."""
    between = {c.name: index for c in CHOICES if c.group.startswith("width_")}
    rest = {c.name: uniform_weights(CHOICES).values[c.name] for c in CHOICES if c.group.startswith(("op_", "input_"))}
    return weights.replace(rest).fix(between)


@needs_reference
@pytest.mark.parametrize("parameters", ["at_initialisation", "with_released_arch_parameters"])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_official_table_gives_the_official_latencies_and_gradients(latency, name, parameters):
    facts = json.loads((FOLDER / "facts.json").read_text())["supernet"]["official_forward_latency_ms_3x1024x2048"][parameters][name]
    logits = initial_logits() if parameters == "at_initialisation" else released_logits(name)
    betas = [logits[group].requires_grad_() for group in ("input_16", "input_32")]
    weights = weights_of(name, logits)
    alpha_only, beta_only, _ = (latency(term) for _, term in decoupled(weights, CONFIG))
    single = 5e-7  # the official numbers are of single precision
    assert alpha_only.item() == pytest.approx(facts["alpha_only"], rel=single)
    assert beta_only.item() == pytest.approx(facts["beta_only"], rel=single)
    for index, which in ((0, "min"), (4, "max")):
        assert latency(at_width(weights, index)).item() == pytest.approx(facts[f"uniform_alpha_beta_widths_{which}"], rel=single)
    gradients = torch.autograd.grad(beta_only, betas, allow_unused=True, materialize_grads=True)
    for scale, gradient in enumerate(gradients, start=1):
        # Stated with six digits behind the point.
        stated = facts[f"beta_only_grad_scale{scale}_down_logit"]
        assert gradient[:, 0].tolist() == pytest.approx(stated, rel=0, abs=1e-6)
        torch.testing.assert_close(gradient[:, 1], -gradient[:, 0])


@needs_reference
def test_the_zoomed_double_convolution_costs_what_the_plain_one_does(latency):
    uniform = at_width(weights_of("student", initial_logits()), 2)
    values = {}
    for op in ("conv_2x", "conv_2x_downup", "conv_downup"):
        decided = {choice.name: choice.options.index(op) for choice in CHOICES if choice.group.startswith("op_")}
        values[op] = latency(uniform.fix(decided)).item()
    assert values["conv_2x"] == values["conv_2x_downup"] != values["conv_downup"]


def test_what_was_not_drawn_has_no_gradient_and_what_was_that_of_its_gates():
    latency = OfficialLatticeLatency(LATTICE, MacsTable().cost)
    weights = weights_of("student", initial_logits())
    leaves = {name: z.detach().requires_grad_() for name, z in weights.values.items()}
    latency(Weights(leaves, weights.drawn)).backward()
    for name in ("cells.1.8.width", "cells.7.16.width", "cells.15.32.width"):
        index, gradient = weights.drawn[name], leaves[name].grad
        ends = []
        for gate in (0.5, 1.5):
            gated = torch.zeros(5, dtype=torch.float64)
            gated[index] = gate
            ends.append(latency(Weights(weights.values | {name: gated}, weights.drawn)).item())
        assert gradient[index].item() == pytest.approx(ends[1] - ends[0], rel=1e-9)
        assert gradient.count_nonzero() == 1


def test_weights_per_image_give_each_image_its_latency():
    latency = OfficialLatticeLatency(LATTICE, MacsTable().cost, overhead=0.25)
    generator = torch.Generator().manual_seed(0)
    logits = {group: torch.randn(shape, generator=generator) for group, shape in group_shapes(CHOICES).items()}
    batch = sample(logits, [_soft(c) for c in CHOICES], relaxation="soft", tau=1.0, generator=generator, batch=3)
    expected = torch.stack([latency(Weights({name: z[i] for name, z in batch.values.items()}, {})) for i in range(3)])
    torch.testing.assert_close(latency(batch), expected, rtol=1e-12, atol=0)
    assert latency(batch).shape == (3,)


def _soft(choice):
    return type(choice)(choice.name, choice.options, choice.group, choice.row)


def test_too_few_layers_are_refused():
    with pytest.raises(ConfigError, match="space.layers: got 3, expected at least 4 with space.fidelity=official"):
        OfficialLatticeLatency(DeployedLattice(FasterSegConfig(layers=3), Deployment((64, 64), 12, 19)), MacsTable().cost)
