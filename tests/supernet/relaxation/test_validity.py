"""Draws respect what no architecture may decide throughout."""

from __future__ import annotations

import itertools

import pytest
import torch

from nas.space.choice import Choice, NeverAll
from nas.space.weights import Weights
from nas.supernet.relaxation import probabilities, sample
from nas.supernet.relaxation.validity import barred
from search_spaces.lgcnet.config import LGCNetConfig
from search_spaces.lgcnet.space import LGCNet

OPTIONS = ("none", "a", "b")
CHOICES = tuple(Choice(f"d.{i}", OPTIONS, "g", i) for i in range(5))
SETS = (NeverAll(("d.0", "d.1"), "none"), NeverAll(("d.2", "d.3", "d.4"), "none"))


def _draw(logits: torch.Tensor, relaxation: str, *, seed: int = 0, batch: int | None = None) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    return sample({"g": logits}, CHOICES, relaxation=relaxation, tau=0.7, generator=generator, never_all=SETS, batch=batch)


def test_a_decision_is_barred_exactly_where_all_others_of_its_set_take_the_option() -> None:
    rows = torch.tensor([[0, 1, -1], [2, 3, 4]])
    for taken in itertools.product(range(3), repeat=5):
        scores = torch.rand(5, 3, generator=torch.Generator().manual_seed(7))
        scores[range(5), taken] += 2
        bar = barred(scores, rows, 0)
        assert not bar[:, 1:].any()
        for members in ((0, 1), (2, 3, 4)):
            otherwise = [i for i in members if taken[i] != 0]
            if len(otherwise) > 1:
                expected: list[int] = []
            elif otherwise:
                expected = otherwise
            else:
                expected = [max(members, key=lambda i: float(scores[i, 1:].max()))]
            assert [i for i in members if bar[i, 0]] == expected


@pytest.mark.parametrize("relaxation", ["hard", "sampled"])
def test_no_draw_takes_the_option_throughout_even_when_it_is_nearly_certain(relaxation: str) -> None:
    logits = torch.zeros(5, 3)
    logits[:, 0] = 6
    for seed in range(200):
        weights = _draw(logits, relaxation, seed=seed)
        for entry in SETS:
            assert min(float(weights.values[name][0]) for name in entry.decisions) == 0
        if relaxation == "sampled":
            assert all(weights.drawn[name] == int(weights.values[name].argmax()) for name in weights.values)


def test_soft_weights_of_a_set_keep_one_decision_off_the_option_and_sum_to_one() -> None:
    logits = torch.zeros(5, 3)
    logits[:, 0] = 6
    weights = _draw(logits, "soft", batch=50)
    for entry in SETS:
        on_none = torch.stack([weights.values[name][:, 0] for name in entry.decisions])
        assert (on_none.min(dim=0).values == 0).all()
    for z in weights.values.values():
        torch.testing.assert_close(z.sum(dim=-1), torch.ones(50))


@pytest.mark.parametrize("relaxation", ["soft", "hard", "sampled", "softmax"])
def test_valid_draws_are_what_they_were_without_the_sets(relaxation: str) -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    logits[:, 0] = -50
    free = sample({"g": logits}, CHOICES, relaxation=relaxation, tau=0.7, generator=torch.Generator().manual_seed(3))
    held = _draw(logits, relaxation, seed=3)
    assert free.drawn == held.drawn
    assert all(torch.equal(free.values[name], held.values[name]) for name in free.values)


def test_frequencies_are_those_of_valid_draws_up_to_the_repair() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2])).repeat(5, 1)
    n = 20_000
    weights = _draw(logits, "hard", batch=n)
    both = torch.stack([weights.values["d.0"], weights.values["d.1"]]).argmax(dim=-1)
    neither = float((both != 0).all(dim=0).float().mean())
    assert abs(neither - 0.25) < 4 * (0.25 * 0.75 / n) ** 0.5  # a repair makes one decision other than none, not two
    assert not (both == 0).all(dim=0).any()


def test_a_barred_option_has_no_gradient() -> None:
    logits = torch.zeros(5, 3)
    logits[:, 0] = 6
    logits[3] = torch.tensor([4.0, 7.0, 6.0])  # the only one of its set that is decided otherwise
    logits.requires_grad_()
    z = _draw(logits, "hard").values["d.3"]
    (z * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad[3, 0] == 0
    assert logits.grad[3, 1] != 0


def test_probabilities_are_the_softmax_where_nothing_is_barred() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    logits[:, 0] = -50
    weights = probabilities({"g": logits}, CHOICES, never_all=SETS)
    for i, choice in enumerate(CHOICES):
        torch.testing.assert_close(weights.values[choice.name], torch.softmax(logits[i], dim=-1))


def test_sets_that_are_not_drawn_together_are_refused() -> None:
    other = (*CHOICES, Choice("e", ("none", "a"), "h", 0))
    logits = {"g": torch.zeros(5, 3), "h": torch.zeros(1, 2)}
    draw = {"relaxation": "soft", "tau": 1.0, "generator": torch.Generator()}
    with pytest.raises(ValueError, match="options or relaxations differ"):
        sample(logits, other, never_all=(NeverAll(("d.0", "e"), "none"),), **draw)
    with pytest.raises(ValueError, match="in two sets"):
        sample(logits, other, never_all=(*SETS, NeverAll(("d.1", "d.2"), "none")), **draw)


@pytest.mark.parametrize("cells", ["independent", "shared"])
def test_every_draw_of_lgcnet_is_a_valid_architecture(cells: str) -> None:
    space = LGCNet(LGCNetConfig(cells=cells, communication="none"))
    logits: dict[str, torch.Tensor] = {}
    for choice in space.choices():
        logits.setdefault(choice.group, torch.zeros(16, len(choice.options)))
    for group in logits:
        if group.startswith("cell"):
            logits[group][:, space.config.ops.index("none")] = 5
    for seed in range(50):
        weights = sample(
            logits,
            space.choices(),
            relaxation="sampled",
            tau=1.0,
            generator=torch.Generator().manual_seed(seed),
            never_all=space.never_all(),
        )
        space.check({c.name: c.options[weights.drawn[c.name]] for c in space.choices()})
