"""Whole networks timed side by side on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from nas.cost.latency_table import LatencyTable
from nas.cost.table_parts import parse_key
from nas.devices.runtime_name import RuntimeName
from nas.measuring.backends import BACKENDS
from nas.measuring.effort import Effort
from nas.measuring.example_operations import example_network
from nas.measuring.runners.in_process import InProcess
from nas.measuring.runners.request import Request
from nas.measuring.runners.runner import SizedNetwork
from nas.network.build import build_network
from nas.space.design import Design


def measure(
    designs: Mapping[str, Design],
    *,
    runtime: str = "torch-eager",
    accelerator: str = "cpu",
    rounds: int = 30,
    seed: int = 0,
    level: LatencyTable | None = None,
) -> dict[str, float]:
    """Median ms of each network from image tensor to label map at its deployed size, in interleaved rounds.

    Args:
        designs: Name -> architecture; their weights are fresh; see `example_network`.
        runtime: A runtime's name; a backend alone means fp32, one image, one thread.
        accelerator: `cpu` or `cuda`.
        rounds: Number of rounds; a network is timed twice a round.
        seed: Seed of the orders and the weights.
        level: Bring the times to the speed that the machine had when this table was measured, by its reference operation; None:
            as they are now.

    Raises:
        ConfigError: If the runtime is not there.
    """
    effort = Effort(rounds=rounds, max_rounds=rounds)
    name = RuntimeName.parse(runtime, backends=BACKENDS)
    runner = InProcess.of(Request(runtime=name, accelerator=accelerator, effort=effort, program_effort=effort, in_process=True))
    networks = [
        SizedNetwork(
            partial(example_network, partial(build_network, one), size=one.deployment.input, seed=seed), one.deployment.input
        )
        for one in designs.values()
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        of_level = None if level is None else level.reference
        timed, _ = runner.time_networks(networks, None if of_level is None else parse_key(of_level.key), seed=seed)
    samples = timed.samples(level_ms=None if of_level is None else of_level.median_ms)
    return dict(zip(designs, map(float, np.median(samples, axis=(1, 2))), strict=True))
