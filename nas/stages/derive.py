"""Derive: from a search's checkpoint to a genotype, also in the middle of a search; under latency targets by exact repair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.config.checks import check_tables, check_targets
from nas.config.jobs import DeriveJob
from nas.cost.deployed import DeployedCosts, check_target_unit, deployed_costs
from nas.cost.repair import check_repairable, log_probability
from nas.data.data_words import data_words
from nas.errors import CheckpointError, ConfigError
from nas.files.command_words import setting
from nas.reports.front import Point, undominated, write_front
from nas.runs import rundir
from nas.runs.checkpoint import load_checkpoint, steps_done
from nas.runs.run_data import data_of
from nas.runs.state_checks import check_verb, checked_as
from nas.space.genotype import Genotype
from nas.space.search_space import SearchSpace, SpaceEntry
from nas.supernet.derivation import (
    check_search_state,
    deployment_of,
    genotype_of,
    genotypes_of,
    shown_repairs,
    space_of,
    write_genotype,
    write_genotypes,
)


@dataclass(frozen=True, slots=True)
class DeriveResult:
    """A derived genotype.

    Args:
        path: The file.
        genotype: What is in it.
        step: Step of the search it belongs to.
        repairs: What derivation changed, one line each.
        predicted: By table, a line on what it costs there; none if no table was asked for.
        others: The files of the other architecture sets.
        data_words: Words of a command line that choose the data set of the search.
    """

    path: Path
    genotype: Genotype
    step: int
    repairs: tuple[str, ...]
    predicted: tuple[str, ...] = ()
    others: tuple[Path, ...] = ()
    data_words: tuple[str, ...] = ()

    def summary(self) -> list[str]:
        """Human lines: what was written, what derivation changed, what to do next."""
        lines = [f"derived after {self.step} steps of search", *(f"  repaired  {line}" for line in shown_repairs(self.repairs))]
        return [
            *lines,
            *(f"  predicted {line}" for line in self.predicted),
            *(f"  wrote     {path}" for path in (self.path, *self.others)),
            f"next: nas train {' '.join((setting('genotype', self.path), *self.data_words))}",
        ]


@dataclass(frozen=True, slots=True)
class FrontResult:
    """The genotypes of a front.

    Args:
        folder: Where they lie.
        points: By target, what was derived.
        kept: Those that no other dominates.
        table: The table's name.
        data_words: Words of a command line that choose the data set of the search.
    """

    folder: Path
    points: tuple[Point, ...]
    kept: tuple[Point, ...]
    table: str
    data_words: tuple[str, ...]

    def summary(self) -> list[str]:
        """Human lines: a row for each target, the files, what to do next."""
        lines = [f"front of {len(self.kept)} architectures from {len(self.points)} targets on {self.table}"]
        for point in self.points:
            what = f"wrote {self.folder / point.file_name}" if point in self.kept else "dominated, left out"
            lines.append(
                f"  {point.target:g} ms: predicted {point.cost:.3f} ms, log-probability {point.log_probability:.3f}, {what}"
            )
        lines.extend(f"  wrote {self.folder / name}" for name in ("front.json", "front.png"))
        words = (setting("genotype", self.folder / self.kept[0].file_name), *self.data_words)
        return [*lines, f"next: nas train {' '.join(words)}"]


def derive(job: DeriveJob, spaces: Mapping[str, SpaceEntry]) -> DeriveResult | FrontResult:
    """Derive the architecture of a search's checkpoint, or one under each of several targets.

    Of each decision it takes the likeliest option, and repairs what is then no valid genotype or above a target.

    Raises:
        UserError: If the run has no such checkpoint, it is no search, or a target is out of reach.
    """
    path = Path(job.run) / "checkpoints" / f"{job.checkpoint}.pt"
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint; give run= the folder of a nas search, and checkpoint=last or best")
    with rundir.held_out(job.out, "derive", run=job.run) as folder:
        return _derived(job, path, spaces, folder)


def _derived(job: DeriveJob, path: Path, spaces: Mapping[str, SpaceEntry], folder: Path) -> DeriveResult | FrontResult:
    """Derive from a checkpoint into a folder that is held."""
    state = load_checkpoint(path)
    with checked_as(path):
        check_verb(state, "search")
        step = steps_done(state, path)
        space = space_of(state, spaces)
        check_search_state(state, space)
        deployment_of(state)
    costs = _costs(job, state, space)
    if job.targets is not None:
        assert costs is not None
        return _derive_front(job, state, space, costs, folder)
    as_searched = job.table is None and job.target_ms is None
    genotypes, repairs = genotypes_of(state, space, sample=job.sample, costs=costs, as_searched=as_searched)
    target, *others = write_genotypes(folder, genotypes)
    genotype = next(iter(genotypes.values()))
    predicted = () if costs is None else costs.lines(costs.predicted(genotype.choices))
    return DeriveResult(target, genotype, step, repairs, predicted, tuple(others), _data_words(job, state))


def _derive_front(job: DeriveJob, state: Mapping[str, Any], space: SearchSpace, costs: DeployedCosts, folder: Path) -> FrontResult:
    """A genotype for each target, dominated ones left out."""
    assert job.targets is not None
    choices, logits = space.choices(), state["guided_logits"][space.architecture_sets[0]]
    points, genotypes = [], {}
    for target in sorted(map(float, job.targets)):
        limited = replace(costs, targets=(target,))
        genotype, _ = genotype_of(state, space, costs=limited)
        cost = limited.predicted(genotype.choices)[0]
        points.append(Point(target, cost, log_probability(logits, choices, genotype.choices), genotype.choices))
        genotypes[target] = genotype
    kept, table = undominated(points), costs.tables[0].identifier
    for point in kept:
        write_genotype(folder / point.file_name, genotypes[point.target])
    write_front(folder, points=points, kept=kept, table=table)
    return FrontResult(folder, tuple(points), tuple(kept), table, _data_words(job, state))


def _data_words(job: DeriveJob, state: Mapping[str, Any]) -> tuple[str, ...]:
    """Words that choose the data set of the search; of a folder that holds its checkpoint alone, the name."""
    try:
        return tuple(data_words(data_of(Path(job.run))))
    except ConfigError:
        return (setting("data", state["provenance"]["data"]),)


def _costs(job: DeriveJob, state: Mapping[str, Any], space: SearchSpace) -> DeployedCosts | None:
    """Tables and targets: those of the job, else those of the search; None where there is neither table nor target to look at."""
    searched = state.get("latency", {"table": "none", "target_ms": None})  # searches of before did not state them
    given = searched["table"] if job.table is None else job.table
    target_ms = searched["target_ms"] if job.target_ms is None else job.target_ms
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
    costs = deployed_costs(space, deployment_of(state), given=given, targets=targets)
    for table, target in zip(costs.tables, job.targets[:1] if job.targets else targets, strict=True):
        check_target_unit("target_ms", table, target)
    return costs
