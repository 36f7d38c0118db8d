"""The scalars of a search step: their sums over passes, their names and what a message says of them."""

from __future__ import annotations

import pytest

from nas.supernet.step_scalars import in_words, scalar_names, summed


def row(*values: float) -> dict[str, float]:
    return dict(zip(scalar_names(len(values) - 2), values, strict=True))


def test_passes_are_added_up_and_tables_named() -> None:
    expected = {"loss": 11, "cross_entropy": 22, "sampled_latency": 33, "sampled_latency_2": 44}
    assert summed([row(1, 2, 3, 4), row(10, 20, 30, 40)]) == expected
    assert summed([row(1, 2)]) == {"loss": 1, "cross_entropy": 2, "sampled_latency": 0}


@pytest.mark.parametrize(
    ("values", "with_latency", "message"),
    [
        ((float("nan"), 5.0, 7.0), True, "loss nan (cross-entropy 5.0, latency 7.0)"),
        ((float("inf"), 5.0, 7.0), False, "loss inf (cross-entropy 5.0, latency 0.0)"),
        ((1.0, 5.0, 7.0, 8.0), True, "loss 1.0 (cross-entropy 5.0, latency 7.0, 8.0)"),
        ((1.0, 5.0), True, "loss 1.0 (cross-entropy 5.0, latency 0.0)"),
    ],
)
def test_a_message_states_the_latency_that_is_in_the_loss(values: tuple[float, ...], *, with_latency: bool, message: str) -> None:
    assert in_words(row(*values), with_latency=with_latency) == message
