"""Whole networks timed against each other."""

from __future__ import annotations

import numpy as np
import pytest

from nas.measuring.network_rounds import noise_floor, time_networks


def test_series_of_a_round_are_independent_samples_and_every_network_has_all_of_them():
    calls = []

    def run_of(name, ms):
        def run(count):
            calls.append((name, count))
            return ms

        return run

    timed = time_networks([run_of("a", 10.0), run_of("b", 100.0)], rounds=3, seed=0)
    samples = timed.samples()
    assert timed.reference_ms is None
    assert samples.shape == (2, 2, 3)
    assert (samples[0] == 10.0).all()
    assert (samples[1] == 100.0).all()
    timed = [count for name, count in calls[8:] if name == "a"]
    assert timed == [1, 3] * 6  # one untimed call, then enough to fill a sample
    assert noise_floor(samples) == 0.0
    assert noise_floor(np.array([[[9.0, 9.0], [11.0, 11.0]]])) == pytest.approx(0.2)


def test_samples_are_brought_to_the_level_of_the_reference():
    speed = iter(np.repeat([1.0, 1.3, 1.0], [60, 60, 4000]))

    def run(ms):
        return lambda calls: ms * next(speed)

    names = [5.0, 50.0, 20.0]
    timed = time_networks([run(ms) for ms in names], rounds=40, seed=0, reference=("reference", run(2.0)))
    assert timed.reference_ms == pytest.approx(2.0)
    samples = timed.samples(level_ms=1.0)
    np.testing.assert_allclose(np.median(samples, axis=(1, 2)), np.array(names) / 2.0, rtol=1e-9)
    assert np.mean(np.abs(samples / (np.array(names)[:, None, None] / 2.0) - 1) < 1e-9) > 0.97  # all but at the two steps
