"""Curves in bounded memory: exact while they are short, and with every peak when they are long."""

from __future__ import annotations

import math
import random

import pytest

from nas.reports.envelope import MOST_SPANS, Envelope


def enveloped(values):
    envelope = Envelope()
    for step, value in enumerate(values):
        envelope.add(3 * step, value)
    return envelope


@pytest.mark.parametrize("count", [0, 1, 2, MOST_SPANS])
def test_a_short_curve_is_kept_as_it_is(count):
    values = [math.sin(i) for i in range(count)]
    assert enveloped(values).points() == ([3 * i for i in range(count)], values)


@pytest.mark.parametrize("count", [MOST_SPANS + 1, 2 * MOST_SPANS, 2 * MOST_SPANS + 1, 9 * MOST_SPANS - 7])
def test_a_long_curve_is_first_smallest_largest_and_last_of_its_spans(count):
    source = random.Random(count)
    values = [source.random() for _ in range(count)]
    size = 2 ** math.ceil(math.log2(count / MOST_SPANS))
    expected = set()
    for start in range(0, count, size):
        span = range(start, min(start + size, count))
        expected |= {span[0], min(span, key=values.__getitem__), max(span, key=values.__getitem__), span[-1]}
    envelope = enveloped(values)
    assert envelope.count == count
    assert envelope.points() == ([3 * i for i in sorted(expected)], [values[i] for i in sorted(expected)])
    assert len(expected) <= 4 * MOST_SPANS


@pytest.mark.parametrize("peak", [0, 1, 1234, 4998, 4999])
@pytest.mark.parametrize("height", [-7.0, 7.0])
def test_one_peak_among_many_values_does_not_vanish(peak, height):
    steps, values = enveloped([height if i == peak else 0.0 for i in range(5000)]).points()
    assert values.count(height) == 1
    assert steps[values.index(height)] == 3 * peak


def test_steps_that_go_back_keep_their_order():
    envelope = Envelope()
    for step in (5, 6, 2, 3):
        envelope.add(step, float(step))
    assert envelope.points() == ([5, 6, 2, 3], [5.0, 6.0, 2.0, 3.0])
