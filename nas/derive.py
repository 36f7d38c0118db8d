"""Derive: from a search's checkpoint to a genotype, also in the middle of a search; under latency targets by exact repair."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nas import rundir
from nas.checkpoint import load_checkpoint
from nas.config import DeriveJob
from nas.cost.repair import check_repairable, derive_within, log_probability
from nas.deployed_latency import DeployedCosts, check_target_unit, deployed_costs
from nas.errors import CheckpointError, ConfigError
from nas.front import Point, undominated, write_front
from nas.genotype import Deploy, Genotype, save_genotype
from nas.relax import gumbel_noise
from nas.setting_checks import check_tables, check_targets
from nas.space import Judge, SearchSpace, SpaceEntry

SHOWN_REPAIRS = 5
"""Repairs that a summary lists before it only counts them."""
_TABLE_FACTS = ("table", "cost_unit", "expected_latency", "target_latency")
"""What provenance says of a table; that of a further one has its number behind it."""


@dataclass(frozen=True, slots=True)
class DeriveResult:
    """A derived genotype.

    Args:
        path: The file.
        genotype: What is in it.
        step: Step of the search it belongs to.
        repairs: What had to be mended.
        predicted: By table, a line on what it costs there; none if no table was asked for.
        others: The files of the other architecture sets.
    """

    path: Path
    genotype: Genotype
    step: int
    repairs: tuple[str, ...]
    predicted: tuple[str, ...] = ()
    others: tuple[Path, ...] = ()

    def summary(self) -> list[str]:
        """Human lines: what was written, what was mended, what to do next."""
        lines = [f"derived after {self.step} steps of search", *(f"  repaired  {line}" for line in shown_repairs(self.repairs))]
        return [
            *lines,
            *(f"  predicted {line}" for line in self.predicted),
            *(f"  wrote     {path}" for path in (self.path, *self.others)),
            f"next: nas train genotype={self.path} data={self.genotype.provenance['data']}",
        ]


@dataclass(frozen=True, slots=True)
class FrontResult:
    """The genotypes of a front.

    Args:
        folder: Where they lie.
        points: By target, what was derived.
        kept: Those that no other dominates.
        table: The table's name.
        data: The data set of the search.
    """

    folder: Path
    points: tuple[Point, ...]
    kept: tuple[Point, ...]
    table: str
    data: str

    def summary(self) -> list[str]:
        """Human lines: a row for each target, the files, what to do next."""
        lines = [f"front of {len(self.kept)} architectures from {len(self.points)} targets on {self.table}"]
        for point in self.points:
            what = f"wrote {self.folder / point.file_name}" if point in self.kept else "dominated, left out"
            lines.append(
                f"  {point.target:g} ms: predicted {point.cost:.3f} ms, log-probability {point.log_probability:.3f}, {what}"
            )
        lines.extend(f"  wrote {self.folder / name}" for name in ("front.json", "front.png"))
        return [*lines, f"next: nas train genotype={self.folder / self.kept[0].file_name} data={self.data}"]


def derive(job: DeriveJob, spaces: Mapping[str, SpaceEntry]) -> DeriveResult | FrontResult:
    """Derive the architecture of a search's checkpoint (SPEC section 7), or one under each of several targets.

    Raises:
        UserError: If the run has no such checkpoint, it is no search, or a target is out of reach.
    """
    path = Path(job.run) / "checkpoints" / f"{job.checkpoint}.pt"
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint; give run= the folder of a nas search, and checkpoint=last or best")
    state = load_checkpoint(path)
    if state.get("verb") != "search":
        raise CheckpointError(f"{path}: got a checkpoint of nas {state.get('verb')}, expected one of nas search")
    costs = _costs(job, state, spaces)
    if job.targets is not None:
        assert costs is not None
        return _derive_front(job, state, spaces, costs)
    genotypes, repairs = genotypes_of(state, spaces, sample=job.sample, costs=costs)
    target, *others = write_genotypes(_folder(job), genotypes)
    genotype = next(iter(genotypes.values()))
    predicted = () if costs is None else costs.lines(costs.predicted(genotype.choices))
    return DeriveResult(target, genotype, int(state["loop"]["step"]), repairs, predicted, tuple(others))


def genotypes_of(
    state: Mapping[str, Any],
    spaces: Mapping[str, SpaceEntry],
    *,
    sample: int | None = None,
    costs: DeployedCosts | None = None,
) -> tuple[dict[str, Genotype], tuple[str, ...]]:
    """The genotypes of a search checkpoint by architecture set, and what had to be mended in the first.

    Args:
        state: The checkpoint.
        spaces: The search spaces by name.
        sample: Seed of Gumbel noise on the logits, whose argmax is a draw from their softmax; None: no noise. Under targets the
            repair loses the least of the probability that the noisy logits have.
        costs: Tables, and the targets that the derived network keeps; None: it may cost anything.
    """
    space, logits = space_of(state, spaces), state["guided_logits"]
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
        genotypes[name] = Genotype(state["space"]["name"], state["space"]["config"], _deploy_of(state), derivation.choices, facts)
    return genotypes, derivations[space.architecture_sets[0]].repairs


def genotype_of(
    state: Mapping[str, Any],
    spaces: Mapping[str, SpaceEntry],
    *,
    sample: int | None = None,
    costs: DeployedCosts | None = None,
) -> tuple[Genotype, tuple[str, ...]]:
    """The genotype of the first architecture set, and what had to be mended; see `genotypes_of`."""
    genotypes, repairs = genotypes_of(state, spaces, sample=sample, costs=costs)
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


def _derive_front(job: DeriveJob, state: Mapping[str, Any], spaces: Mapping[str, SpaceEntry], costs: DeployedCosts) -> FrontResult:
    """A genotype for each target, dominated ones left out."""
    assert job.targets is not None
    space = space_of(state, spaces)
    choices, logits = space.choices(), state["guided_logits"][space.architecture_sets[0]]
    points, genotypes = [], {}
    for target in sorted(map(float, job.targets)):
        limited = replace(costs, targets=(target,))
        genotype, _ = genotype_of(state, spaces, costs=limited)
        cost = limited.predicted(genotype.choices)[0]
        points.append(Point(target, cost, log_probability(logits, choices, genotype.choices), genotype.choices))
        genotypes[target] = genotype
    kept, table, folder = undominated(points), costs.tables[0].identifier, _folder(job)
    for point in kept:
        write_genotype(folder / point.file_name, genotypes[point.target])
    write_front(folder, points=points, kept=kept, table=table)
    return FrontResult(folder, tuple(points), tuple(kept), table, state["provenance"]["data"])


def _costs(job: DeriveJob, state: Mapping[str, Any], spaces: Mapping[str, SpaceEntry]) -> DeployedCosts | None:
    """Tables and targets: those of the job, else those of the search; None where there is neither table nor target to look at."""
    searched = state.get("latency", {"table": "none", "target_ms": None})  # searches of before did not state them
    given = searched["table"] if job.table is None else job.table
    target_ms = searched["target_ms"] if job.target_ms is None else job.target_ms
    space = space_of(state, spaces)
    chooses = not space.contains_derived and given != "none"  # between networks, by their latency, too
    if job.table is None and job.targets is None and target_ms is None and not chooses:
        return None
    if given == "none":
        raise ConfigError("table: the search states none, expected one to predict with; give table=DEVICE/RUNTIME")
    count = check_tables("table", given)
    if job.targets is not None and count > 1:
        raise ConfigError(f"targets: got them for {count} tables, expected one table; give table=DEVICE/RUNTIME")
    targets: list[float | None] = [None] * count
    if job.targets is not None:
        check_repairable(space)
    elif target_ms is not None:
        check_targets("target_ms", target_ms, count=count)
        targets = target_ms if isinstance(target_ms, list) else [target_ms]
    costs = deployed_costs(space, _deploy_of(state), given=given, targets=targets)
    for table, target in zip(costs.tables, job.targets[:1] if job.targets else targets, strict=True):
        check_target_unit("target_ms", table, target)
    return costs


def _deploy_of(state: Mapping[str, Any]) -> Deploy:
    deploy = state["deploy"]
    height, width = deploy["input"]
    return Deploy((height, width), deploy["init_channels"], deploy["num_classes"])


def _folder(job: DeriveJob) -> Path:
    return rundir.prepare_out(job.out, "derive", None) if job.out else Path(job.run)
