"""The plan of a search: forecasts by relaxation, execution and checkpointing, as lines and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.probing.search_probe import ROOM, Probe
from nas.reports.text_table import duration, text_table
from nas.supernet.step_macs import BACKWARD

FORMAT_VERSION = 1
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Facts of a search that do not depend on how it is run.

    Args:
        space: The search space.
        data: The data set.
        crop: (height, width) of the training crop in pixels.
        batch_size: Images a step.
        weights: Weights of the supernet.
        arch_parameters: Logits and communication.
        macs: Relaxation -> pass -> multiply-accumulates of one image forward.
        steps_per_epoch: Steps of an epoch.
        total_steps: Steps of the search.
        warmup_steps: Those in which only the weights move.
        epochs: Epochs of the search.
        evaluations: How often it is evaluated.
        train_images: Images that an epoch passes over.
        val_images: Images of an evaluation.
        cache_bytes_an_image: What the cache of decoded images holds of each; 0: there is none.
    """

    space: str
    data: str
    crop: tuple[int, int]
    batch_size: int
    weights: int
    arch_parameters: int
    macs: Mapping[str, Mapping[str, float]]
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    epochs: int
    evaluations: int
    train_images: int
    val_images: int
    cache_bytes_an_image: int = 0

    def step_macs(self, relaxation: str) -> float:
        """Multiply-accumulates of a step: all passes, forward and backward, of all images."""
        return (1 + BACKWARD) * self.batch_size * sum(self.macs[relaxation].values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Forecast of the needs of a search.

    Args:
        peak_bytes: Most memory at a time.
        fits: Whether that is there; None: how much there is could not be read.
        step_s: Seconds of a step; None: none could be run.
        warmup_step_s: Seconds of a step of the warm-up; None: there is none.
        epoch_s: Seconds of the steps of an epoch.
        evaluation_s: Seconds of an evaluation; None: none was run.
        total_s: Seconds of the whole search, what precedes the first step apart.
    """

    peak_bytes: float
    fits: bool | None
    step_s: float | None = None
    warmup_step_s: float | None = None
    epoch_s: float | None = None
    evaluation_s: float | None = None
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One way to run a search.

    Args:
        relaxation: As search.relaxation.
        execution: As search.execution.
        checkpointing: As trainer.checkpointing.
        probe: What was measured.
        forecast: What follows; None: nothing could be measured.
    """

    relaxation: str
    execution: str
    checkpointing: str
    probe: Probe
    forecast: Forecast | None

    @property
    def evaluation_peak(self) -> float:
        """The most that an evaluation can have needed."""
        return self.probe.peak if self.probe.points and self.probe.peak > self.probe.points[-1][1] else 0.0

    def overrides(self) -> dict[str, str]:
        """Overrides for a search that runs like this, apart from its relaxation."""
        return {"search.execution": self.execution} | (
            {} if self.checkpointing == "none" else {"trainer.checkpointing": self.checkpointing}
        )

    def cells(self) -> list[str]:
        """Cells of its row in the table."""
        names = [f"{self.relaxation} {self.execution} {self.checkpointing}"]
        found = self.forecast
        if found is None:
            return [*names, "-", "-", "-", "-", "-", "does not fit" if self.probe.ran_out else "not possible"]
        fits = {True: "fits", False: "does not fit", None: "unknown"}[found.fits]
        return [
            *names,
            f"{found.peak_bytes / _MIB:,.0f}",
            "-" if found.step_s is None else f"{found.step_s:.3f}",
            "-" if found.epoch_s is None else duration(found.epoch_s),
            "-" if found.evaluation_s is None else duration(found.evaluation_s),
            "-" if found.total_s is None else duration(found.total_s),
            fits if self.probe.measured else f"{fits} (forecast)",
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """Result of `nas search plan=true`.

    Args:
        totals: What does not depend on how it is run.
        rows: Every relaxation, execution and checkpointing, the relaxation asked for first.
        overrides: What to give for the fastest that fits; None: nothing does.
        path: The file written; None: none.
    """

    totals: Totals
    rows: tuple[Row, ...]
    overrides: Mapping[str, str] | None
    path: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        rows = [{**dataclasses.asdict(row), "overrides": row.overrides()} for row in self.rows]
        totals = dataclasses.asdict(self.totals)
        steps = {name: self.totals.step_macs(name) for name in self.totals.macs}
        recommended = None if self.overrides is None else dict(self.overrides)
        return {"format_version": FORMAT_VERSION, "totals": totals, "step_macs": steps, "rows": rows, "recommended": recommended}

    def summary(self) -> list[str]:
        """Lines for the terminal."""
        known, first = self.totals, self.rows[0].relaxation
        height, width = known.crop
        header = ["relaxation execution checkpointing", "MiB", "s a step", "an epoch", "evaluation", "in all", ""]
        return [
            f"plan of a search of {known.space} on {known.data}: crops of {height}x{width}, {known.batch_size} images a step",
            f"  supernet            {known.weights:,} weights, {known.arch_parameters:,} architecture parameters",
            *self._macs_lines(),
            f"  length              {known.epochs} epochs, {known.total_steps} steps, {known.warmup_steps} of them warm-up; "
            f"{known.evaluations} evaluations of {known.val_images} images",
            f"  memory              {self._memory()}",
            "",
            *text_table(header, [row.cells() for row in self.rows]),
            "",
            *(f"{row.relaxation} {row.execution}: {row.probe.reason}" for row in self.rows if row.probe.reason),
            "steps were run on batches of these data, with the wait for them; times are medians, a busy machine takes longer",
            self._advice(first),
            *([] if self.path is None else [f"wrote {self.path}"]),
        ]

    def _macs_lines(self) -> list[str]:
        """A line for each number of multiply-accumulates, and the passes where there are several."""
        lines = []
        for number, (name, passes) in enumerate(self.totals.macs.items()):
            label = "MACs a step" if number == 0 else ""
            parts = ", ".join(f"{one} {self._giga(macs)}" for one, macs in passes.items()) if len(passes) > 1 else ""
            mean = ", the mean over uniform draws" if name == "sampled" else ""
            lines.append(f"  {label:<20}{name} {self.totals.step_macs(name) / 1e9:,.2f} G{mean}{f' ({parts})' if parts else ''}")
        return [*lines, f"  {'':<20}forward x {self.totals.batch_size} images x {1 + BACKWARD} for forward and backward"]

    def _giga(self, macs: float) -> str:
        return f"{(1 + BACKWARD) * self.totals.batch_size * macs / 1e9:,.2f}"

    def _memory(self) -> str:
        found = [row.probe.available for row in self.rows if row.probe.available is not None]
        if not found:
            return "what is available could not be read"
        return f"{min(found) / _MIB:,.0f} MiB available, of which a forecast may take {ROOM:.0%}"

    def _advice(self, relaxation: str) -> str:
        if self.overrides is None and not any(row.probe.ran_out for row in self.rows if row.relaxation == relaxation):
            return f"nothing could be measured with search.relaxation={relaxation}, for the reasons above"
        if self.overrides is None:
            return f"nothing fits with search.relaxation={relaxation}: give a smaller search.crop or search.init_channels"
        given = " ".join(f"{key}={value}" for key, value in self.overrides.items())
        if "search.batch_size" in self.overrides or "search.crop" in self.overrides:
            return f"as asked for, nothing fits with search.relaxation={relaxation}; by forecast this does: {given}"
        return f"recommended, the fastest that fits with search.relaxation={relaxation}: {given}"
