"""A benchmark of space=mini in files: made-up mIoU, and a made-up latency table that its predicted latencies are of."""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict
from pathlib import Path

from nas.cost.genotype_latency import predict
from nas.data.synthetic import SyntheticConfig
from nas.space.benchmark import NETWORKS_FILE
from nas.space.deployment import Deployment
from nas.space.design import Design
from nas.space.distinct import all_choices
from nas.space.genotype import Genotype
from search_spaces import SEARCH_SPACES
from tests.small_jobs import made_up_table

DEPLOY = Deployment((16, 24), 2, 11)
HEAD = 4
"""Channels of the head."""
DATA = SyntheticConfig(size=[16, 24], train=4, val=2)
BATCH, RATE = 2, 0.05
RUNTIME = "torch-eager"
DECISIONS = tuple(
    name
    for name, options in SEARCH_SPACES["mini"].build(SEARCH_SPACES["mini"].config()).genotype_choices().items()
    if len(options) > 1
)


def made_mini_benchmark(folder: Path) -> Path:
    """Write all architectures of mini, whose mIoU grows with their convolutions; the folder."""
    entry = SEARCH_SPACES["mini"]
    space = entry.build(entry.config(head_channels=HEAD))
    table = made_up_table(folder / f"{RUNTIME}.json", space.plan(DEPLOY))
    options = {name: list(given) for name, given in space.genotype_choices().items() if len(given) > 1}
    networks = []
    for decided in all_choices(space):
        digits = [options[name].index(decided[name]) for name in options]
        miou = 0.2 + 0.01 * sum(digits) + 0.002 * digits[0]
        design = Design(Genotype("mini", asdict(space.config), DEPLOY, decided, {}), space)
        networks.append(
            {
                "architectures": ["".join(map(str, digits))],
                "parameters": 1,
                "macs": 1,
                "miou": [[miou - 0.001, miou + 0.001]],
                "training_s": [5.0 + sum(digits)],
                "measured_ms": [1.0],
                "predicted_ms": [round(predict(design, table).ms, 6)],
            }
        )
    content = {
        "format_version": 1,
        "space": "mini",
        "space_config": asdict(space.config),
        "deploy": asdict(DEPLOY),
        "training": {"data": asdict(DATA), "train": {"batch_size": BATCH, "lr": RATE}},
        "budgets": [1],
        "seeds": [[0, 1]],
        "runtimes": {RUNTIME: {}},
        "decisions": options,
        "networks": networks,
    }
    (folder / NETWORKS_FILE).write_bytes(gzip.compress(json.dumps(content).encode()))
    return folder
