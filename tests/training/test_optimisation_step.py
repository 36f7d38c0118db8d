"""An optimisation step: what is clipped, checked and moved, in which order."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nas.distributed.ranks import ALONE
from nas.errors import NonFiniteLossError
from nas.training.optimisation_step import Backward, Moved, clip_gradients, optimisation_step
from nas.training.out_of_memory import HalfMovedError


def moved(value: float = 1.0, *, max_norm: float = 0.0) -> Moved:
    """One number and its SGD of rate one."""
    parameter = nn.Parameter(torch.tensor([value]))
    return Moved.clipped([parameter], torch.optim.SGD([parameter], lr=1.0), max_norm=max_norm)


def passes(parts: list[Moved], *gradients: float, losses: tuple[float, ...] = (1.0,)):
    """Backward passes after which every parameter has the sum of these gradients, and each pass one of the losses."""

    def run() -> Backward:
        for part in parts:
            for parameter in part.parameters:
                assert parameter.grad is None
                for gradient in gradients:
                    (gradient * parameter).sum().backward()
        scalars = torch.tensor([[loss, 2 * loss] for loss in losses], dtype=torch.float64)
        return Backward(("loss", "other"), scalars, torch.tensor([[3]]))

    return run


def values(*parts: Moved) -> list[float]:
    return [float(parameter.detach()) for part in parts for parameter in part.parameters]


def test_a_step_adds_up_gradients_and_moves_everything_by_them():
    parts = [moved(1.0), moved(5.0)]
    rows, confusion = optimisation_step(parts, passes(parts, 0.5, 0.25, losses=(1.0, 3.0)), ranks=ALONE)
    assert rows == [{"loss": 1.0, "other": 2.0}, {"loss": 3.0, "other": 6.0}]
    assert confusion.tolist() == [[3]]
    assert values(*parts) == [0.25, 4.25]
    optimisation_step(parts, passes(parts, 0.25), ranks=ALONE)  # gradients of the step before are gone
    assert values(*parts) == [0.0, 4.0]


def test_what_rests_gets_gradients_and_stays():
    parts = [moved(), moved().resting()]
    optimisation_step(parts, passes(parts, 0.5), ranks=ALONE)
    assert values(*parts) == [0.5, 1.0]
    assert parts[1].parameters[0].grad.tolist() == [0.5]


def test_each_part_is_clipped_by_its_own_norm():
    parts = [moved(0.0, max_norm=1.0), moved(0.0)]
    optimisation_step(parts, passes(parts, 8.0), ranks=ALONE)
    assert values(*parts) == [pytest.approx(-1.0, rel=1e-5), -8.0]


@pytest.mark.parametrize(
    ("losses", "gradient", "message"),
    [
        ((1.0, math.nan), math.nan, "got loss nan"),
        ((math.inf,), 1.0, "got loss inf"),
        ((1.0,), math.inf, "got a gradient of norm inf"),
    ],
)
def test_nothing_moves_by_a_loss_or_gradient_that_is_not_finite_and_the_loss_is_named_first(losses, gradient, message):
    parts = [moved(), moved()]
    with pytest.raises(NonFiniteLossError) as error:
        optimisation_step(parts, passes(parts, gradient, losses=losses), ranks=ALONE)
    assert str(error.value) == message
    assert values(*parts) == [1.0, 1.0]


def test_the_message_says_of_the_pass_what_the_caller_wants():
    parts = [moved()]
    run = passes(parts, 1.0, losses=(2.0, math.inf))
    with pytest.raises(NonFiniteLossError, match="^got inf and the other inf$"):
        optimisation_step(parts, run, ranks=ALONE, describe=lambda row: f"{row['loss']} and the other {row['other']}")


def test_a_gradient_may_overflow_where_a_scaler_leaves_the_step_out():
    parts = [moved()]
    optimisation_step([parts[0].resting()], passes(parts, math.inf), ranks=ALONE, may_overflow=lambda: True)
    with pytest.raises(NonFiniteLossError, match="got loss nan"):
        optimisation_step(parts, passes(parts, 1.0, losses=(math.nan,)), ranks=ALONE, may_overflow=lambda: True)


def test_memory_that_runs_out_while_an_optimiser_moves_is_told_apart(monkeypatch):
    parts = [moved()]

    def no_room():
        raise MemoryError("no room")

    monkeypatch.setattr(parts[0].optimizer, "step", no_room)
    with pytest.raises(HalfMovedError, match="no room"):
        optimisation_step(parts, passes(parts, 1.0), ranks=ALONE)


def test_clip_gradients_scales_to_the_norm_and_states_what_it_was():
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert float(clip_gradients([parameter], 0)) == 5.0
    assert parameter.grad.tolist() == [3.0, 4.0]
    assert float(clip_gradients([parameter], 1.0)) == 5.0
    assert torch.allclose(parameter.grad, torch.tensor([0.6, 0.8]), atol=1e-5)
    parameter.grad = torch.tensor([float("inf"), 0.0])
    assert float(clip_gradients([parameter], 1.0)) == float("inf")
