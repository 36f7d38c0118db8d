"""What operations are run on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nas.worker.example_values import IMAGE_RUN, MAP_RUN, PATTERN, run_of, smooth_numbers, smooth_tensor


@pytest.mark.parametrize("run", [MAP_RUN, IMAGE_RUN])
def test_signs_change_as_often_as_stated(run: int) -> None:
    numbers = np.array(smooth_numbers(run))
    assert numbers.shape == (PATTERN,)
    assert (abs(numbers.mean()) < 0.05, abs(numbers.std() - 1) < 0.05) == (True, True)
    changes = np.mean((numbers[1:] > 0) != (numbers[:-1] > 0))
    assert changes == pytest.approx(math.acos(1 - 1 / run) / math.pi, rel=0.05)


def test_images_are_smoother_than_maps() -> None:
    assert (run_of((1, 3, 8, 8)), run_of((1, 16, 8, 8)), run_of((4,))) == (IMAGE_RUN, MAP_RUN, MAP_RUN)


def test_a_tensor_repeats_the_numbers_row_by_row() -> None:
    tensor = smooth_tensor(torch, (2, 5, 100, 100))
    numbers = torch.tensor(smooth_numbers(MAP_RUN))
    assert torch.equal(tensor.flatten()[:PATTERN], numbers)
    assert torch.equal(tensor.flatten()[PATTERN:], numbers[: 100_000 - PATTERN])
