"""Parameters of random architectures at several deployed widths: how the default of `deploy.init_channels` was picked.

python experiments/deployed_width/run.py
"""

from __future__ import annotations

import statistics

import torch

from nas.network.network import Network
from nas.space.deployment import Deployment
from search_spaces import all_spaces

WIDTHS = (24, 32, 36, 40, 44, 48, 56, 64)
ARCHITECTURES = 20
CLASSES = 19


def main() -> None:
    """Print median and range for each space and width."""
    print("| space | width | parameters, M: median | least | most |")
    print("|---|---|---|---|---|")
    for name in ("lgcnet", "gas", "cas"):
        entry = all_spaces()[name]
        space = entry.build(entry.config())
        for width in WIDTHS:
            generator = torch.Generator().manual_seed(0)
            counts = []
            for _ in range(ARCHITECTURES):
                decided = space.random_choices(generator)
                graph = space.graph(Deployment((97, 131), width, CLASSES), decided)
                with torch.device("meta"):
                    counts.append(sum(p.numel() for p in Network(graph).parameters()) / 1e6)
            print(f"| {name} | {width} | {statistics.median(counts):.2f} | {min(counts):.2f} | {max(counts):.2f} |")


if __name__ == "__main__":
    main()
