"""What the gradient of the cross-entropy says of each candidate operation, under `hard` and under `sampled`.

Both draw one operation an edge. `hard` runs all of them, so that each has a gradient <dCE/dy, o(x)>; `sampled` runs the drawn one
alone. Weights are those of a search after its warm-up; logits are uniform; nothing is updated.

    python experiments/lgcnet_camvid/estimators.py RUN --root PATH_TO_CAMVID
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.data import build_dataset
from nas.data.batches.loader import train_loader
from nas.data.camvid import CamVidConfig
from nas.losses import cross_entropy
from nas.network.network import Network
from nas.runs.checkpoint import load_checkpoint
from nas.space.choice import Choice
from nas.space.deployment import Deployment
from nas.space.search_space import SearchSpace
from nas.space.weights import Weights
from nas.supernet.relaxation import sample
from search_spaces import all_spaces

SIZE = (180, 240)
BATCH = 4
CHANNELS = 8


def main() -> None:
    """Print the mean gradient and the push on the logits of every operation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a search whose last checkpoint is that of its warm-up")
    parser.add_argument("--root", required=True, help="folder of CamVid")
    parser.add_argument("--batches", default=60, type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    space, network = supernet_of(load_checkpoint(arguments.run / "checkpoints" / "last.pt"))
    images = build_dataset(CamVidConfig(root=arguments.root, size=list(SIZE)), "train")
    loader = train_loader(images, batch_size=BATCH, crop=SIZE, seed=5, epoch=0)
    gradients: dict[str, list[list[Tensor]]] = {"hard": [], "sampled": []}
    for number, (batch, labels) in zip(range(arguments.batches), loader, strict=False):
        drawn = draw(space, number)
        for name, rows in gradients.items():
            rows.append(edge_gradients(network, drawn, batch, labels, space=space, all_run=name == "hard"))
    print("| | " + " | ".join(space.config.ops) + " | signal / noise |")
    print("|---" * (len(space.config.ops) + 2) + "|")
    for name, rows in gradients.items():
        push = torch.stack([torch.stack(row) for row in rows])  # [batches, edges, q]
        ratio = (push.mean(dim=0).norm(dim=-1) / push.std(dim=0).norm(dim=-1)).nanmean()
        mean = 1000 * push.mean(dim=(0, 1))
        print(f"| {name} | " + " | ".join(f"{value:+.3f}" for value in mean.tolist()) + f" | {float(ratio):.3f} |")
    print(f"\npush on the logits x 1000, mean over edges; noise alone would give signal / noise {arguments.batches**-0.5:.3f}")


def supernet_of(state: Mapping[str, Any]) -> tuple[SearchSpace, Network]:
    """Space and network of a search's checkpoint."""
    entry = all_spaces()[state["space"]["name"]]
    space = entry.build(entry.config(**state["space"]["config"]))
    network = Network(space.graph(Deployment(SIZE, CHANNELS, 11)))
    prefix = "network."
    network.load_state_dict({k.removeprefix(prefix): v for k, v in state["supernet"].items() if k.startswith(prefix)})
    return space, network.train()


def edges_of(space: SearchSpace) -> list[Choice]:
    """The decisions of the cells."""
    return [choice for choice in space.choices() if choice.name.startswith("cells.")]


def draw(space: SearchSpace, seed: int) -> Weights:
    """A valid architecture at uniform logits."""
    logits: dict[str, list[Tensor]] = defaultdict(list)
    for choice in space.choices():
        logits[choice.group].append(torch.zeros(len(choice.options)))
    return sample(
        {group: torch.stack(rows) for group, rows in logits.items()},
        space.choices(),
        relaxation="sampled",
        tau=1.0,
        generator=torch.Generator().manual_seed(seed),
        never_all=space.never_all(),
    )


def edge_gradients(
    network: Network, drawn: Weights, images: Tensor, labels: Tensor, *, space: SearchSpace, all_run: bool
) -> list[Tensor]:
    """For each edge the descent direction [q] on its uniform logits: -J dCE/dz, J the Jacobian of softmax at temperature one."""
    z = {name: value.detach().clone().requires_grad_() for name, value in drawn.values.items()}
    weights = Weights(z, {} if all_run else drawn.drawn)
    cross_entropy(network(images, weights), labels).backward()
    network.zero_grad()
    pushes = []
    for choice in edges_of(space):
        gradient = z[choice.name].grad
        q = len(choice.options)
        gradient = torch.zeros(q) if gradient is None else gradient
        pushes.append(-(gradient - gradient.mean()) / q)
    return pushes


if __name__ == "__main__":
    main()
