"""`sample`, `one_hot` and `uniform`: weights of all decisions of a space."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nas.space.choice import Choice
from nas.space.weights import Weights, one_hot, uniform
from nas.supernet.relaxation import sample

CHOICES = (
    Choice("a.0", ("x", "y", "z"), "a", 0),
    Choice("b.0", ("p", "q"), "b", 0),
    Choice("a.1", ("x", "y", "z"), "a", 1),
    Choice("plain", ("p", "q"), "plain", 0, relaxation="softmax"),
    Choice("wide", ("x", "y", "z"), "wide", 0, relaxation="hard"),
)
FREE = CHOICES[:3]


def _logits(*, grad: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (2, 3), "b": (1, 2), "plain": (1, 2), "wide": (1, 3)}
    return {name: torch.randn(shape, generator=generator).requires_grad_(grad) for name, shape in shapes.items()}


def _sample(relaxation: str, *, seed: int = 0, tau: float = 0.7, batch: int | None = None) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    return sample(_logits(), CHOICES, relaxation=relaxation, tau=tau, generator=generator, batch=batch)


@pytest.mark.parametrize("relaxation", ["soft", "hard", "sampled", "softmax"])
def test_every_decision_gets_weights_that_sum_to_one(relaxation: str) -> None:
    weights = _sample(relaxation)
    assert list(weights.values) == [choice.name for choice in CHOICES]
    for choice in CHOICES:
        z = weights.values[choice.name]
        assert z.shape == (len(choice.options),)
        assert math.isclose(float(z.sum()), 1, rel_tol=1e-6)


@pytest.mark.parametrize("relaxation", ["soft", "hard"])
def test_a_batch_gets_weights_of_its_own_for_each_image(relaxation: str) -> None:
    weights = _sample(relaxation, batch=64)
    for choice in CHOICES:
        assert weights.values[choice.name].shape == (64, len(choice.options))
    assert weights.drawn == {}
    assert len(weights.values["a.0"].unique(dim=0)) > 1
    assert len(weights.values["plain"].unique(dim=0)) == 1  # no noise


def test_batch_frequencies_are_the_softmax_of_each_row() -> None:
    n = 40_000
    weights = _sample("hard", batch=n)
    logits = _logits()
    for choice in FREE:
        p = torch.softmax(logits[choice.group][choice.row], dim=-1)
        frequencies = weights.values[choice.name].mean(dim=0)
        assert ((frequencies - p).abs() < 4 * (p * (1 - p) / n).sqrt()).all()


def test_decisions_are_drawn_independently() -> None:
    n = 40_000
    z = _sample("hard", batch=n).values
    first, second = z["a.0"][:, 0], z["a.1"][:, 0]
    p, q = float(first.mean()), float(second.mean())
    assert abs(float((first * second).mean()) - p * q) < 4 * math.sqrt(p * q * (1 - p * q) / n)


def test_one_generator_state_gives_one_result_and_the_global_one_is_left_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = _sample("soft"), _sample("soft"), _sample("soft", seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    for name in first.values:
        assert torch.equal(first.values[name], again.values[name])
    assert not torch.equal(first.values["a.0"], other.values["a.0"])


def test_a_decision_overrides_the_relaxation_of_the_search() -> None:
    weights = _sample("soft")
    assert torch.equal(weights.values["plain"], torch.softmax(_logits()["plain"][0], dim=-1))
    assert sorted(weights.values["wide"].tolist()) == [0.0, 0.0, 1.0]
    assert 0 < float(weights.values["a.0"].min())
    sampled = _sample("sampled")
    assert set(sampled.drawn) == {"a.0", "b.0", "a.1"}


def test_sampled_names_the_drawn_option_and_soft_and_hard_do_not() -> None:
    weights = _sample("sampled")
    for name, index in weights.drawn.items():
        assert isinstance(index, int)
        assert float(weights.values[name][index]) == 1
    assert _sample("soft").drawn == _sample("hard").drawn == {}


def test_sampled_draws_what_hard_draws_from_the_same_noise() -> None:
    sampled, hard = (
        sample(_logits(), FREE, relaxation=name, tau=0.7, generator=torch.Generator().manual_seed(3))
        for name in ("sampled", "hard")
    )
    for choice in FREE:
        assert torch.equal(sampled.values[choice.name], hard.values[choice.name])


@pytest.mark.parametrize("relaxation", ["soft", "hard", "sampled"])
def test_gradients_reach_every_logit(relaxation: str) -> None:
    logits = _logits(grad=True)
    weights = sample(logits, CHOICES, relaxation=relaxation, tau=1.0, generator=torch.Generator().manual_seed(0))
    torch.stack([z[0] for z in weights.values.values()]).sum().backward()
    for group in logits.values():
        assert group.grad is not None
        assert (group.grad != 0).all()


def test_unknown_and_impossible_relaxations_are_refused() -> None:
    with pytest.raises(ValueError, match="got relaxation 'gumbel', expected one of soft, hard, sampled, softmax"):
        _sample("gumbel")
    with pytest.raises(ValueError, match="'sampled' runs one option for the whole batch"):
        _sample("sampled", batch=4)


def test_a_decision_that_is_sampled_refuses_weights_per_image_too() -> None:
    choices = (Choice("wide", ("x", "y", "z"), "wide", 0, relaxation="sampled"),)
    with pytest.raises(ValueError, match="wide.*'sampled' runs one option for the whole batch"):
        sample(_logits(), choices, relaxation="soft", tau=1.0, generator=torch.Generator(), batch=4)


def test_a_decision_with_an_unknown_relaxation_is_named() -> None:
    choices = (Choice("wide", ("x", "y", "z"), "wide", 0, relaxation="magic"),)
    with pytest.raises(ValueError, match="wide.*got relaxation 'magic'"):
        sample(_logits(), choices, relaxation="soft", tau=1.0, generator=torch.Generator())


def test_the_architecture_set_is_passed_on() -> None:
    weights = sample(_logits(), CHOICES, relaxation="soft", tau=1.0, generator=torch.Generator(), architecture="student")
    assert weights.architecture == "student"
    assert weights.replace({}).architecture == "student"


def test_one_hot_is_the_decided_architecture() -> None:
    decided = {"a.0": "z", "b.0": "p", "a.1": "x", "plain": "q", "wide": "y"}
    weights = one_hot(decided, CHOICES)
    assert weights.drawn == {"a.0": 2, "b.0": 0, "a.1": 0, "plain": 1, "wide": 1}
    for name, index in weights.drawn.items():
        assert weights.values[name].tolist() == [float(i == index) for i in range(len(weights.values[name]))]


def test_uniform_weighs_all_options_alike() -> None:
    weights = uniform(CHOICES)
    assert weights.drawn == {}
    torch.testing.assert_close(weights.values["a.0"], torch.full((3,), 1 / 3))
    torch.testing.assert_close(weights.values["b.0"], torch.full((2,), 1 / 2))


def test_replace_changes_the_named_decisions_only() -> None:
    weights = _sample("sampled")
    held = weights.replace({"b.0": torch.tensor([0.5, 0.5])})
    assert held.values["b.0"].tolist() == [0.5, 0.5]
    assert all(held.values[name] is weights.values[name] for name in weights.values if name != "b.0")
    assert weights.values["b.0"].tolist() != [0.5, 0.5]
