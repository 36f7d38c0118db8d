"""Architecture parameters: one matrix of logits a group, guided by a module where the space has one; their entropy."""

from __future__ import annotations

import math

import pytest
import torch

import nas
from nas.space.choice import Choice
from nas.supernet.architecture import Architecture, choice_entropy, group_shapes
from tests.small_jobs import space_config


def architecture(seed=0, **changes):
    torch.manual_seed(0)
    return Architecture(nas.build_space(space_config(**changes)), torch.Generator().manual_seed(seed))


def test_logits_are_one_matrix_a_group_and_parameters_in_the_state():
    made = architecture()
    shapes = {name: tuple(value.shape) for name, value in made.alpha.items()}
    cells = {f"cell_{cell}": (5, 8) for cell in range(3)}  # two nodes that read 2 and 3 maps, eight candidates
    fusion = {"fusion_11": (8, 11), "fusion_2": (5, 2)}
    assert {name: shape for name, shape in shapes.items() if name in cells} == cells
    assert sum(p for name, (p, _) in shapes.items() if name not in cells) == sum(p for p, _ in fusion.values())
    assert {f"alpha.{name}" for name in shapes} <= made.state_dict().keys()
    assert {id(made.alpha[name]) for name in shapes} <= {id(parameter) for parameter in made.parameters()}


def test_initial_logits_are_small_and_a_function_of_the_generator():
    one, same, other = (torch.cat([v.flatten() for v in architecture(seed).alpha.values()]) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert float(one.std()) == pytest.approx(1e-3, rel=0.3)
    assert float(one.abs().max()) < 6e-3


def test_without_communication_the_guided_logits_are_the_logits_themselves():
    made = architecture(communication="none")
    guided = made()
    assert list(guided) == list(made.alpha)
    assert all(guided[name] is made.alpha[name] for name in guided)
    assert made.communication is None


def test_communication_leaves_the_first_cell_and_the_fusion_alone_and_carries_logits_down_the_chain():
    made = architecture()
    before = {name: value.detach().clone() for name, value in made().items()}
    assert torch.equal(before["cell_0"], made.alpha["cell_0"])
    assert not torch.equal(before["cell_1"], made.alpha["cell_1"])
    with torch.no_grad():
        made.alpha["cell_0"] += torch.randn(5, 8, generator=torch.Generator().manual_seed(3))
    after = made()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"cell_0", "cell_1", "cell_2"}


def test_gradient_of_the_last_cell_reaches_the_first_and_the_module_through_communication():
    made = architecture()
    with torch.no_grad():
        for value in made.alpha.values():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.shape[0])))
    made()["cell_2"].square().sum().backward()
    assert all(float(made.alpha[f"cell_{cell}"].grad.abs().sum()) > 0 for cell in range(3))
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in made.communication.parameters())


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([Choice("a", ("x", "y"), "g", 0), Choice("b", ("x", "z"), "g", 1)], "group g: its decisions have different options"),
        ([Choice("a", ("x", "y"), "g", 0), Choice("b", ("x", "y"), "g", 2)], r"group g: got rows \[0, 2\], expected 0 to 1"),
        ([Choice("a", ("x", "y"), "g", 0), Choice("b", ("x", "y"), "g", 0)], r"got rows \[0, 0\]"),
    ],
)
def test_group_that_does_not_stack_is_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        group_shapes(choices)


def test_shapes_of_groups_count_decisions_and_options():
    choices = [Choice("a", ("x", "y"), "g", 1), Choice("b", ("x", "y"), "g", 0), Choice("c", ("p", "q", "r"), "h", 0)]
    assert group_shapes(choices) == {"g": (2, 2), "h": (1, 3)}


def test_entropy_is_1_for_equal_logits_and_0_for_decided_ones():
    assert float(choice_entropy({"a": torch.zeros(3, 8), "b": torch.full((2, 2), 5.0)})) == pytest.approx(1, abs=1e-6)
    assert float(choice_entropy({"a": torch.tensor([[100.0, 0, 0], [0, 0, 100.0]])})) == pytest.approx(0, abs=1e-6)


def test_entropy_is_the_mean_over_decisions_of_that_over_its_largest_value():
    p, q = [0.5, 0.25, 0.25], [0.9, 0.1]
    expected = [-sum(x * math.log(x) for x in p) / math.log(3)] * 2 + [-sum(x * math.log(x) for x in q) / math.log(2)]
    logits = {"a": torch.tensor([p, p]).log() + 3, "b": torch.tensor([q]).log(), "one": torch.zeros(4, 1)}
    assert float(choice_entropy(logits)) == pytest.approx(sum(expected) / 3, rel=1e-6)


def test_entropy_without_an_open_decision_is_0():
    assert float(choice_entropy({})) == 0
    assert float(choice_entropy({"one": torch.zeros(4, 1)})) == 0
