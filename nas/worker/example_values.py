"""Numbers to run operations on: random, and as smooth along a row as the maps of a trained network.

What some kernels take depends on their input: ONNX Runtime's PRelu takes twelve times as long where signs change at random as where
they do not [measured, 1.31 on x86-64].
"""

import random
from functools import lru_cache
from typing import Any, Sequence, Tuple

PATTERN = 65521
"""Numbers after which an input repeats: drawing each one of a large map would take longer than to run the operation."""
MAP_RUN, IMAGE_RUN = 5, 16
"""Neighbours whose mean a number is. Signs then change after 5 numbers of a map, as in ENet trained on CamVid, and after 9 of an
image. [measured]"""
IMAGE_CHANNELS = 3


def run_of(shape: Sequence[int]) -> int:
    """Neighbours whose mean a number of an input is, from its shape [N, C, H, W]: images are smoother than maps."""
    return IMAGE_RUN if len(shape) > 1 and shape[1] == IMAGE_CHANNELS else MAP_RUN


@lru_cache(maxsize=2)
def smooth_numbers(run: int) -> Tuple[float, ...]:
    """`PATTERN` numbers of mean 0 and variance 1, each the scaled sum of `run` random ones in a row; always the same.

    Their correlation is 1 - 1 / run, so signs change with probability arccos(1 - 1 / run) / pi.
    """
    draw = random.Random(0)  # noqa: S311  no secret
    drawn = [draw.gauss(0, 1) for _ in range(PATTERN + run - 1)]
    numbers, total = [], sum(drawn[:run])
    for index in range(PATTERN):
        numbers.append(total * run**-0.5)
        total += drawn[index + run] - drawn[index] if index + run < len(drawn) else 0.0
    return tuple(numbers)


def smooth_tensor(torch: Any, shape: Sequence[int]) -> Any:
    """A float32 tensor of `smooth_numbers`, repeated row by row; `torch` is PyTorch."""
    numbers = torch.tensor(smooth_numbers(run_of(shape)), dtype=torch.float32)
    count = 1
    for side in shape:
        count *= side
    return numbers.repeat(-(-count // PATTERN))[:count].reshape(*shape)
