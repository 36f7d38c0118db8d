"""A benchmark whose numbers can be told by hand: decisions of three options, whose effects add up."""

from __future__ import annotations

import itertools
from pathlib import Path

from nas.space.benchmark import Benchmark, BenchmarkNetwork
from nas.space.deployment import Deployment

GAINS = (0.1, 0.03, 0.01, 0.004, 0.002)


def small_benchmark(noise: float = 0.0, decisions: int = 3) -> Benchmark:
    """A digit adds its number to the latency in ms, and so many times the gain of its place to the mIoU."""
    networks = []
    for digits in itertools.product(range(3), repeat=decisions):
        ms = float(sum(digits))
        miou = 0.3 + sum(gain * digit for gain, digit in zip(GAINS, digits, strict=False))
        networks.append(
            BenchmarkNetwork(
                architectures=("".join(map(str, digits)),),
                parameters=1,
                macs=1,
                miou=((0.5 * miou, 0.5 * miou), (miou - noise, miou + noise)),
                training_s=(1.0, 3.0),
                measured_ms=(ms,),
                predicted_ms=(ms,),
            )
        )
    return Benchmark(
        folder=Path(),
        space="s",
        space_config={},
        deploy=Deployment((32, 48), 4, 5),
        training={},
        budgets=(1, 3),
        seeds=((0, 1), (0, 1)),
        runtimes={"r": {}},
        decisions={name: ("x", "y", "z") for name in "abcde"[:decisions]},
        networks=tuple(networks),
    )
