"""Random parameters of a lattice, and the branches that they derive to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from search_spaces.fasterseg.config import STRIDES, FasterSegConfig
from search_spaces.fasterseg.deployed.branches import Branch
from search_spaces.fasterseg.derivation.derivation import Parameters, derive_branches
from search_spaces.fasterseg.lattice.lattice_choices import lattice_choices

WIDTHS = (4, 6, 8, 10, 12)


def random_logits(seed: int, layers: int, *, skip: float = 0.0) -> dict[str, torch.Tensor]:
    """Logits of the groups of a lattice; `skip` is added to those of skips."""
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, int] = {}
    options = {}
    for choice in lattice_choices(FasterSegConfig(layers=layers)):
        rows[choice.group] = max(rows.get(choice.group, 0), choice.row + 1)
        options[choice.group] = len(choice.options)
    logits = {group: torch.randn(count, options[group], generator=generator) for group, count in rows.items()}
    for stride in STRIDES:
        logits[f"op_{stride}"][:, 0] += skip
    return logits


def random_parameters(seed: int, layers: int = 16, *, skip: float = 0.0) -> Parameters:
    return Parameters.of(random_logits(seed, layers, skip=skip))


def derive(parameters: Parameters, *, fidelity: str = "corrected", keep_layers: bool = False) -> dict[int, Branch]:
    config = FasterSegConfig(layers=parameters.layers, fidelity=fidelity, path_rule="most_probable")
    return derive_branches(parameters, config, head_width=8, keep_layers=keep_layers)


def all_paths(layers: int, last: int) -> Iterator[list[int]]:
    """Every path of the lattice to a scale: one for each choice of the layers in which it goes down."""
    for downs in itertools.combinations(range(layers - 1), last):
        yield [sum(layer > down for down in downs) for layer in range(layers)]


def probability(path: list[int], parameters: Parameters) -> float:
    """Product over the cells of a path with two inputs."""
    total = 1.0
    for layer in range(1, len(path)):
        scale = path[layer]
        if scale and layer > scale:
            down, keep = parameters.betas[scale - 1][layer - scale - 1].double().exp().tolist()
            total *= (keep if path[layer - 1] == scale else down) / (down + keep)
    return total
