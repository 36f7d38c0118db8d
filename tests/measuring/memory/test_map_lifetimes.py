"""Lifetimes of maps, against sums made by hand."""

from __future__ import annotations

import pytest

from nas.measuring.memory.map_lifetimes import Memory, Step, memory_of_steps, peak

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


def test_what_nobody_reads_is_not_made_and_an_output_stays():
    """As the largest logits beside the labels, or the places of the largest pixels beside these."""
    split = Step("split", ["image"], {"unread": 50, "a": 10})
    assert peak([IMAGE, split, Step("b", ["a"], {"b": 20})], ["b"]) == (30, "b")
    assert peak([IMAGE, split, Step("b", ["a"], {"b": 20})], ["unread", "b"]) == (80, "b")


def test_a_map_that_is_read_twice_by_a_step_counts_once():
    assert peak([IMAGE, Step("square", ["image", "image"], {"a": 3})], ["a"]) == (6, "square")


def test_the_body_ends_before_the_last_resize_and_the_argmax():
    """A resize within stays; what the last one reads is alive to the end."""
    steps = [
        IMAGE,
        Step("Conv 1", ["image"], {"a": 10}),
        Step("Resize 2", ["a"], {"b": 40}),
        Step("Conv 3", ["b"], {"c": 5}),
        Step("Resize 4", ["c"], {"d": 80}),
        Step("Reshape 5", ["d"], {}),
        Step("ArgMax 6", ["d"], {"labels": 16}),
    ]
    assert memory_of_steps(steps, ["labels"], weights=1) == Memory(1, 96, "ArgMax 6", 50)
    assert memory_of_steps(steps[:4], ["c"], weights=1, eager=7) == Memory(1, 50, "Resize 2", 50, 7)


@pytest.mark.parametrize(
    ("body", "eager", "text"),
    [
        (2_000_000, None, ""),
        (2_000_000, 2_500_000, ", 2.5 MB in eager PyTorch"),
        (1_500_000, 2_500_000, ", 2.5 MB in eager PyTorch, 1.5 MB before the last resize"),
    ],
)
def test_a_memory_in_words(body, eager, text):
    memory = Memory(1_000_000, 2_000_000, "conv 1x4x8x8", body, eager)
    assert memory.summary() == f"weights 1.0 MB, activations at most 2.0 MB (conv 1x4x8x8){text}"
    numbers = {"weights": 1_000_000, "activations": 2_000_000, "body": body, "eager": eager}
    assert memory.as_json() == {**numbers, "at": "conv 1x4x8x8"}
