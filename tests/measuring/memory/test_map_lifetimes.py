"""Lifetimes of maps, against sums made by hand."""

from __future__ import annotations

import pytest

from nas.measuring.memory.map_lifetimes import Memory, Step, peak

IMAGE = Step("input", [], {"image": 3})


def test_a_map_is_alive_from_its_maker_to_its_last_reader():
    """A skip over two steps: at c the skipped map, b and c are alive; at the sum, the skipped map, c and the sum."""
    steps = [
        IMAGE,
        Step("a", ["image"], {"a": 10}),
        Step("b", ["a"], {"b": 4}),
        Step("c", ["b"], {"c": 10}),
        Step("sum", ["a", "c"], {"s": 10}),
    ]
    assert peak(steps, ["s"]) == (30, "sum")
    assert peak(steps[:4], ["c"]) == (14, "b")


def test_a_pointwise_step_runs_over_a_map_that_nobody_reads_after_it():
    made = Step("conv", ["image"], {"a": 10})
    relu = Step("relu", ["a"], {"b": 10}, pointwise=True)
    assert peak([IMAGE, made, relu], ["b"]) == (13, "conv")
    assert peak([IMAGE, made, relu], ["a", "b"]) == (20, "relu")
    assert peak([IMAGE, made, relu, Step("add", ["a", "b"], {"c": 10}, pointwise=True)], ["c"]) == (20, "relu")
    assert peak([IMAGE, made, Step("cast", ["a"], {"b": 20}, pointwise=True)], ["b"]) == (30, "cast")


def test_what_nobody_reads_goes_at_once_and_an_output_stays():
    split = Step("split", ["image"], {"unread": 50, "a": 10})
    assert peak([IMAGE, split, Step("b", ["a"], {"b": 20})], ["b"]) == (63, "split")
    assert peak([IMAGE, split, Step("b", ["a"], {"b": 20})], ["unread", "b"]) == (80, "b")


def test_a_map_that_is_read_twice_by_a_step_counts_once():
    assert peak([IMAGE, Step("square", ["image", "image"], {"a": 3})], ["a"]) == (6, "square")


@pytest.mark.parametrize(("eager", "text"), [(None, ""), (2_500_000, ", 2.5 MB in eager PyTorch")])
def test_a_memory_in_words(eager, text):
    memory = Memory(1_000_000, 2_000_000, "conv 1x4x8x8", eager)
    assert memory.summary() == f"weights 1.0 MB, activations at most 2.0 MB (conv 1x4x8x8){text}"
    assert memory.as_json() == {"weights": 1_000_000, "activations": 2_000_000, "at": "conv 1x4x8x8", "eager": eager}
