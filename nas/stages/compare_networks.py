"""Whole networks timed side by side on this machine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from nas.cost.latency_table import LatencyTable
from nas.devices.runtime_name import RuntimeName
from nas.measuring.backends import BACKENDS
from nas.measuring.network_rounds import level_of, time_networks
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
        designs: Name -> architecture; their weights are fresh, which changes nothing.
        runtime: A runtime's name; a backend alone means fp32, one image, one thread.
        accelerator: `cpu` or `cuda`.
        rounds: Number of rounds; a network is timed twice a round.
        seed: Seed of the orders and the weights.
        level: Bring the times to the speed that the machine had when this table was measured, by its reference operation; None:
            as they are now.

    Raises:
        ConfigError: If the runtime is not there.
    """
    name = RuntimeName.parse(runtime, backends=BACKENDS)
    backend = BACKENDS[name.backend](name, accelerator=accelerator)
    with backend.measuring(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        runs = [backend.prepare_network(build_network(design).eval(), size=design.deployment.input) for design in designs.values()]
        reference = None if level is None else level_of(level, backend)
        samples = time_networks(runs, rounds=rounds, seed=seed, reference=reference)
    return dict(zip(designs, map(float, np.median(samples, axis=(1, 2))), strict=True))
