"""Contractions against explicit sums."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from nas.cost.contraction import Contraction, ContractionBank
from nas.space.weights import Weights

SIZES = {"a": 2, "b": 3, "c": 3, "d": 4}
DECISIONS = [("a",), (), ("b", "c"), ("d",), ("a", "b", "d"), ("c",), ("c", "b"), ("b",), ()]


def _contractions() -> list[Contraction]:
    generator = torch.Generator().manual_seed(0)
    return [
        Contraction(names, torch.randn([SIZES[name] for name in names], generator=generator, dtype=torch.float64))
        for names in DECISIONS
    ]


def _weights(batched: tuple[str, ...] = (), n: int = 3) -> Weights:
    generator = torch.Generator().manual_seed(1)
    return Weights(
        {name: torch.rand((n, size) if name in batched else (size,), generator=generator) for name, size in SIZES.items()},
        {},
    )


def _sum(contraction: Contraction, values: dict[str, Tensor]) -> float:
    total = 0.0
    for indices in itertools.product(*(range(SIZES[name]) for name in contraction.decisions)):
        term = float(contraction.coefficients[indices])
        for name, index in zip(contraction.decisions, indices, strict=True):
            term *= float(values[name][index])
        total += term
    return total


def test_values_are_the_explicit_sums_in_the_given_order() -> None:
    weights = _weights()
    values = ContractionBank(_contractions())(weights)
    expected = [_sum(contraction, dict(weights.values)) for contraction in _contractions()]
    assert values.dtype == torch.float64
    assert values.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("batched", [("a",), ("b", "d"), tuple(SIZES)])
def test_weights_per_image_give_a_value_for_each_image(batched: tuple[str, ...]) -> None:
    weights = _weights(batched)
    values = ContractionBank(_contractions())(weights)
    assert values.shape == (3, len(DECISIONS))
    for n in range(3):
        image = {name: z[n] if z.dim() == 2 else z for name, z in weights.values.items()}
        expected = [_sum(contraction, image) for contraction in _contractions()]
        assert values[n].tolist() == pytest.approx(expected, rel=1e-12)


def test_constants_need_no_weights() -> None:
    bank = ContractionBank([Contraction((), torch.tensor(2.5)), Contraction((), torch.tensor(-1.0))])
    assert bank(Weights({}, {})).tolist() == [2.5, -1.0]


def test_coefficients_are_no_parameters_and_leave_the_state_dict_alone() -> None:
    bank = ContractionBank(_contractions())
    assert list(bank.parameters()) == []
    assert bank.state_dict() == {}
