"""Frames per second: of latencies with and without an error bar, and of tables whose calls take several images."""

from __future__ import annotations

import pytest

from nas.cost.frame_rate import FrameRate, frame_rate, frame_rate_on
from nas.cost.prediction import Latency


def test_the_interval_is_that_of_the_error_bar_turned_round():
    rate = frame_rate(10.0, 8.0, 12.5)
    assert rate == FrameRate(100.0, 80.0, 125.0)
    assert str(rate) == "100 FPS (80 to 125)"
    assert rate.as_json() == {"fps": 100.0, "fps_low": 80.0, "fps_high": 125.0}


@pytest.mark.parametrize(
    ("latency", "words"),
    [
        ((40.0,), "25 FPS"),
        ((0.144,), "6944 FPS"),
        ((150.0, 0.0, 300.0), "6.667 FPS (3.333 and more)"),  # an error bar of all that there is
        ((0.0,), "None"),  # a network that executes nothing
    ],
)
def test_rates_in_words(latency, words):
    assert str(frame_rate(*latency)) == words


def test_a_call_of_several_images_makes_as_many_frames():
    latency = Latency(10.0, None, None, {})
    assert frame_rate_on(latency, "ms", "board/torch-eager-fp32-b4-t1") == FrameRate(400.0)
    assert frame_rate_on(latency, "ms", "board/of-a-paper") == FrameRate(100.0)


def test_counts_have_no_frames_per_second():
    assert frame_rate_on(Latency(10.0, None, None, {}), "MMACs", "macs") is None
