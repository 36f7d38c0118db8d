"""`Weights`: replaced and fixed decisions, and what is said to be drawn."""

from __future__ import annotations

import torch

from nas.space.weights import Weights


def weights() -> Weights:
    values = {"a": torch.tensor([0.0, 1.0, 0.0], requires_grad=True), "b": torch.tensor([[0.2, 0.8], [0.6, 0.4]])}
    return Weights(values, {"a": 1}, "student")


def test_what_is_replaced_is_no_longer_drawn() -> None:
    held = weights().replace({"a": torch.full((3,), 1 / 3)})
    assert held.drawn == {}
    assert held.architecture == "student"
    assert weights().replace({"b": torch.ones(2)}).drawn == {"a": 1}


def test_a_fixed_decision_is_one_hot_drawn_and_without_gradient() -> None:
    before = weights()
    held = before.fix({"a": 2, "b": 0})
    assert held.values["a"].tolist() == [0.0, 0.0, 1.0]
    assert held.values["b"].tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert held.drawn == {"a": 2, "b": 0}
    assert held.architecture == "student"
    assert not held.values["a"].requires_grad
    assert before.drawn == {"a": 1}
    assert before.values["a"].tolist() == [0.0, 1.0, 0.0]
