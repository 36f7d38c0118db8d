"""From the state of a search to genotypes, in memory and in files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from nas.cost.deployed import DeployedCosts
from nas.cost.repair import derive_within
from nas.errors import CheckpointError
from nas.space.capabilities import Judge
from nas.space.deployment import Deployment
from nas.space.genotype import Genotype, save_genotype
from nas.space.search_space import SearchSpace, SpaceEntry
from nas.supernet.relaxation.gumbel import gumbel_noise

SHOWN_REPAIRS = 5
"""Repairs that a summary lists before it only counts them."""


_TABLE_FACTS = ("table", "cost_unit", "expected_latency", "target_latency")
"""Key of a table in provenance; that of a further one ends in its number."""


def genotypes_of(
    state: Mapping[str, Any],
    space: SearchSpace,
    *,
    sample: int | None = None,
    costs: DeployedCosts | None = None,
) -> tuple[dict[str, Genotype], tuple[str, ...]]:
    """The genotypes of a search checkpoint by architecture set, and what had to be mended in the first.

    Args:
        state: The checkpoint.
        space: That of `space_of`.
        sample: Seed of Gumbel noise on the logits, whose argmax is a draw from their softmax; None: no noise. Under targets the
            repair loses the least of the probability that the noisy logits have.
        costs: Tables, and the targets that the derived network keeps; None: it may cost anything.
    """
    logits = state["guided_logits"]
    if sample is not None:
        generator = torch.Generator().manual_seed(sample)
        logits = {
            name: {group: values + gumbel_noise(values.shape, generator=generator) for group, values in groups.items()}
            for name, groups in logits.items()
        }
    scores = state.get("scores", {})  # searches of before did not state them
    judge = Judge(scores) if costs is None else costs.judge(scores)
    derivations = derive_within(space, logits, () if costs is None else costs.limits(), judge=judge)
    stated = {**state["provenance"], "step": state["loop"]["step"], **({} if sample is None else {"derive_sample": sample})}
    genotypes = {}
    for name, derivation in derivations.items():
        facts = stated if len(derivations) == 1 else {**stated, "architecture": name}
        if costs is not None:
            facts = {key: value for key, value in facts.items() if not key.startswith(_TABLE_FACTS)}
            facts |= costs.facts(costs.predicted(derivation.choices))
        genotypes[name] = Genotype(
            state["space"]["name"], state["space"]["config"], deployment_of(state), derivation.choices, facts
        )
    return genotypes, derivations[space.architecture_sets[0]].repairs


def genotype_of(
    state: Mapping[str, Any],
    space: SearchSpace,
    *,
    sample: int | None = None,
    costs: DeployedCosts | None = None,
) -> tuple[Genotype, tuple[str, ...]]:
    """The genotype of the first architecture set, and what had to be mended; see `genotypes_of`."""
    genotypes, repairs = genotypes_of(state, space, sample=sample, costs=costs)
    return next(iter(genotypes.values())), repairs


def space_of(state: Mapping[str, Any], spaces: Mapping[str, SpaceEntry]) -> SearchSpace:
    """The search space of a checkpoint.

    Raises:
        CheckpointError: If it is not installed.
    """
    name, config = state["space"]["name"], state["space"]["config"]
    if name not in spaces:
        raise CheckpointError(f"the checkpoint is of space {name!r}, which is not among {', '.join(spaces)}; install its package")
    return spaces[name].build(spaces[name].config(**config))


def write_genotype(path: Path, genotype: Genotype) -> None:
    """Write a genotype, with the folder it goes to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_genotype(path, genotype)


def write_genotypes(folder: Path, genotypes: Mapping[str, Genotype]) -> list[Path]:
    """Write the genotypes of all architecture sets: genotype.yaml, the first one's, and genotype_SET.yaml."""
    paths = genotype_files(folder, genotypes)
    for path, genotype in zip(paths, genotypes.values(), strict=True):
        write_genotype(path, genotype)
    return paths


def genotype_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files of the genotypes of the architecture sets of these names."""
    return [folder / (f"genotype_{name}.yaml" if number else "genotype.yaml") for number, name in enumerate(names)]


def shown_repairs(repairs: tuple[str, ...]) -> list[str]:
    """The repairs; of many the first ones, and how many more there are."""
    if len(repairs) <= SHOWN_REPAIRS:
        return list(repairs)
    return [*repairs[: SHOWN_REPAIRS - 1], f"{len(repairs) - SHOWN_REPAIRS + 1} more decisions"]


def deployment_of(state: Mapping[str, Any]) -> Deployment:
    """What the derived networks of a search checkpoint are deployed for."""
    return Deployment(**state["deploy"])
