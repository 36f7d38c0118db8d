"""From a search as it stands, or from its checkpoint, to genotypes, in memory and in files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.config.jobs import SearchJob
from nas.cost.deployed import DeployedCosts
from nas.cost.repair import derive_within
from nas.errors import CheckpointError
from nas.files.plain_yaml import plain
from nas.files.shortening import shorten
from nas.runs.provenance import TABLE_FACTS, provenance
from nas.runs.state_checks import as_mapping, check_scores, check_tensor
from nas.space.capabilities import Derivation, Judge
from nas.space.deployment import Deployment
from nas.space.genotype import Genotype, save_genotype
from nas.space.search_space import SearchSpace, SpaceEntry, open_choices
from nas.supernet.architecture import group_shapes, same_logits
from nas.supernet.relaxation.gumbel import gumbel_noise
from nas.supernet.supernet import Supernet

SHOWN_REPAIRS = 5
"""Repairs that a summary lists before it only counts them."""


class DerivedArchitectures:
    """The discrete architectures of a search as it stands, by architecture set; that of the first set keeps the targets.

    Args:
        job: The settings of the search.
        supernet: Its supernet.
        costs: What derived networks cost, and may cost.
        deploy: What the derived networks are deployed for.
    """

    def __init__(self, job: SearchJob, supernet: Supernet, costs: DeployedCosts, deploy: Deployment) -> None:
        self.job, self.supernet, self.space, self.costs, self.deploy = job, supernet, supernet.space, costs, deploy
        self.first_set = self.space.architecture_sets[0]
        self.scores: dict[str, dict[str, float]] = {}
        self.chosen: dict[str, str] | None = None
        """The architecture of the first set that was chosen among candidates; None: the most probable one is derived."""
        self._found: tuple[dict[str, dict[str, Tensor]], Mapping[str, Derivation]] | None = None

    def guided_logits(self) -> dict[str, dict[str, Tensor]]:
        """The guided logits by architecture set and group, copied to the CPU: without communication they are the parameters."""
        with torch.no_grad():
            logits = self.supernet.guided_logits()
            return {name: {group: value.to("cpu", copy=True) for group, value in s.items()} for name, s in logits.items()}

    def all(self) -> Mapping[str, Derivation]:
        """The derivations of all sets; they are asked for several times an epoch, and found once for the same logits."""
        logits = self.guided_logits()
        if self._found is None or not same_logits(self._found[0], logits):
            judge = self.costs.judge(self.scores)
            self._found = logits, derive_within(self.space, logits, self.costs.limits(), judge=judge)
        return self._found[1] if self.chosen is None else {**self._found[1], self.first_set: Derivation(self.chosen)}

    def first(self) -> Derivation:
        """The derivation of the first set."""
        return self.all()[self.first_set]

    def judge_by(self, scores: dict[str, dict[str, float]]) -> None:
        """Judge by the scores of an evaluation from here on: architecture set -> output -> mIoU."""
        self.scores, self._found = scores, None

    def choose(self, choices: dict[str, str] | None) -> None:
        """Derive this architecture of the first set from here on; None: the most probable one."""
        self.chosen = choices

    def latencies(self) -> list[float]:
        """By table, the predicted latency of the first set's network."""
        return self.costs.predicted(self.first().choices)

    def latencies_of_alternatives(self) -> list[float]:
        """The predicted latency, by the first table, of each network that the first set may come to."""
        networks = self.space.alternatives(self.guided_logits()[self.first_set], self.first_set).values()
        return [self.costs.predicted(choices)[0] for choices in networks]

    def provenance(self) -> dict[str, Any]:
        """Origin of a genotype of this search."""
        chosen = {} if self.chosen is None else {"candidates": self.job.search.candidates}
        return provenance(seed=self.job.seed, data=self.job.data.name, **self.costs.facts(), **chosen)

    def genotype(self) -> Genotype:
        """The genotype of the first set."""
        return self._genotype(self.first().choices, self.latencies())

    def genotypes(self) -> dict[str, Genotype]:
        """The genotypes of all sets; where there are several, each states its own."""
        genotypes = {}
        for name, derivation in self.all().items():
            genotype = self._genotype(derivation.choices, self.costs.predicted(derivation.choices))
            alone = len(self.space.architecture_sets) == 1
            facts = genotype.provenance if alone else {**genotype.provenance, "architecture": name}
            genotypes[name] = dataclasses.replace(genotype, provenance=facts)
        return genotypes

    def _genotype(self, choices: Mapping[str, str], predicted: Sequence[float]) -> Genotype:
        return Genotype(
            space=self.job.space.name,
            space_config=dataclasses.asdict(self.job.space),
            deploy=self.deploy,
            choices=choices,
            provenance={**self.provenance(), "expected_latency": None, **self.costs.facts(predicted)},
        )


def genotypes_of(
    state: Mapping[str, Any],
    space: SearchSpace,
    *,
    sample: int | None = None,
    costs: DeployedCosts | None = None,
    as_searched: bool = False,
) -> tuple[dict[str, Genotype], tuple[str, ...]]:
    """The genotypes of a search checkpoint by architecture set, and what had to be mended in the first.

    Args:
        state: The checkpoint.
        space: That of `space_of`.
        sample: Seed of Gumbel noise on the logits, whose argmax is a draw from their softmax; None: no noise. Under targets the
            repair loses the least of the probability that the noisy logits have.
        costs: Tables, and the targets that the derived network keeps; None: it may cost anything.
        as_searched: Whether tables and targets are those of the search: then what it chose among candidates is derived again.
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
    chosen = state.get("chosen") if as_searched and sample is None else None  # searches of before chose none
    if chosen is not None:
        derivations = {**derivations, space.architecture_sets[0]: Derivation(chosen)}
    origin = {key: value for key, value in state["provenance"].items() if key != "candidates" or chosen is not None}
    stated = {**origin, "step": state["loop"]["step"], **({} if sample is None else {"derive_sample": sample})}
    genotypes = {}
    for name, derivation in derivations.items():
        facts = stated if len(derivations) == 1 else {**stated, "architecture": name}
        if costs is not None:
            facts = {key: value for key, value in facts.items() if not key.startswith(TABLE_FACTS)}
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


def check_search_state(state: Mapping[str, Any], space: SearchSpace) -> None:
    """What genotypes are made of, in the state of a search's checkpoint.

    Raises:
        ValueError: If a part is missing or does not fit the space.
    """
    as_mapping(state, "checkpoint", ("guided_logits", "provenance", "deploy"))
    as_mapping(state["provenance"], "provenance", ("data",))
    plain(state["provenance"], "provenance")
    for name, scores in as_mapping(state.get("scores", {}), "scores").items():
        check_scores(scores, f"scores.{name}")
    latency = as_mapping(state.get("latency", {"table": "none", "target_ms": None}), "latency", ("table", "target_ms"))
    plain(latency, "latency")
    if state.get("chosen") is not None:
        check_chosen(state["chosen"], space)
    sets = as_mapping(state["guided_logits"], "guided_logits", space.architecture_sets)
    for name in space.architecture_sets:
        shapes = group_shapes(open_choices(space, name))
        found = as_mapping(sets[name], f"guided_logits.{name}", shapes)
        for group, shape in shapes.items():
            check_tensor(found[group], shape, torch.float32, f"guided_logits.{name}.{group}")


def check_chosen(chosen: object, space: SearchSpace) -> None:
    """What a search chose among candidates, in the state of its checkpoint.

    Raises:
        ValueError: If it is no architecture of the space.
    """
    options = space.genotype_choices()
    decided = as_mapping(chosen, "chosen", options)
    if left := [name for name in decided if name not in options]:
        raise ValueError(f"chosen: got {shorten(left[0])}, which is no decision of space {space.config.name}")
    for name, option in decided.items():
        if option not in options[name]:
            raise ValueError(f"chosen.{name}: got {shorten(option)}, expected one of {', '.join(options[name])}")
    space.check(decided)


def space_of(state: Mapping[str, Any], spaces: Mapping[str, SpaceEntry]) -> SearchSpace:
    """The search space of a checkpoint.

    Raises:
        CheckpointError: If it is not installed.
    """
    stated = as_mapping(state["space"], "space", ("name", "config"))
    name, config = stated["name"], as_mapping(stated["config"], "space.config")
    if name not in spaces:
        raise CheckpointError(
            f"the checkpoint is of space {shorten(name)}, which is not among {', '.join(spaces)}; install its package"
        )
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
    """The deployment of the derived networks of a search checkpoint."""
    return Deployment(**as_mapping(state["deploy"], "deploy"))
