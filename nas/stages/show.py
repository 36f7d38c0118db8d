"""Stage `show`: what a genotype or a search space is made of, and lists of what there is.

The lists load no PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.config.jobs import ShowJob
from nas.config.settings import DeploySettings
from nas.cost import hidden_by, known_tables, read_table
from nas.cost.comparable_times import times_in_words
from nas.errors import ConfigError, TableError
from nas.files.shipped import published_genotypes
from nas.reports.published_list import published_list
from nas.reports.text_table import text_table
from nas.space.design import load_design
from nas.space.space_entry import SpaceEntry

LISTS = ("spaces", "genotypes", "tables")
SUFFIXES = (".png", ".svg")


@dataclass(frozen=True, slots=True)
class ShowReport:
    """Result of `nas show`.

    Args:
        lines: For the terminal.
        picture: The file written; None: none.
    """

    lines: tuple[str, ...]
    picture: Path | None = None

    def summary(self) -> list[str]:
        """All lines, the name of the picture last."""
        return [*self.lines, *([] if self.picture is None else [f"wrote {self.picture}"])]


def show(job: ShowJob, spaces: Mapping[str, SpaceEntry]) -> ShowReport:
    """Show as `nas show` does.

    Raises:
        UserError: If not exactly one thing is asked for, or it is not there or wrong.
    """
    asked = {"genotype": job.genotype, "run": job.run, "space": job.space, "list": job.list}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1:
        raise ConfigError(f"got {' and '.join(given) or 'nothing'} to show, expected exactly one of genotype=, run=, space=, list=")
    if job.list is not None:
        return _show_list(job, spaces)
    picture = None if job.out is None else _picture_path(job.out, "space" if job.space is not None else "genotype")
    from nas.reports.network_summary import design_summary, space_summary

    source = job.genotype if job.run is None else job.run
    if source is not None:
        design = load_design(source, spaces)
        design = design.deployed(job.deploy.replacing(design.deployment, job.num_classes))
        return ShowReport(design_summary(job, design, picture, source=source), picture)
    return ShowReport(space_summary(job, spaces, picture), picture)


def _show_list(job: ShowJob, spaces: Mapping[str, SpaceEntry]) -> ShowReport:
    if job.list not in LISTS:
        raise ConfigError(f"list: got {job.list!r}, expected one of {', '.join(LISTS)}")
    if job.num_classes is not None or job.deploy != DeploySettings():
        raise ConfigError(f"deploy, num_classes: got a value with list={job.list}, which has no network; leave it away")
    if job.out is not None:
        raise ConfigError(f"out: got {job.out} with list={job.list}, which has no picture; leave out= away")
    if job.list == "spaces":
        return ShowReport(tuple(_described(name, entry.config) for name, entry in spaces.items() if entry.searched))
    if job.list == "genotypes":
        return ShowReport(tuple(published_list(published_genotypes())))
    return ShowReport(tuple(_table_lines()))


def _described(name: str, config: type[Any]) -> str:
    first = (config.__doc__ or "").strip().split("\n", 1)[0]
    return f"{name}  {first}"


def _table_lines() -> list[str]:
    """The tables that a name can reach; one that cannot be read is listed with the reason."""
    rows, broken = [], []
    hidden = [str(one) for path in known_tables().values() for one in hidden_by(path)]
    for path in known_tables().values():
        try:
            table = read_table(path)
        except TableError as error:
            broken.append(f"cannot be read: {error}")
            continue
        known = ", ".join(f"{one.space} at {one.input[0]}x{one.input[1]}" for one in table.calibrations)
        rows.append([table.identifier, str(len(table.entries)), table.measured_at, times_in_words(table), known or "no"])
    if not rows:
        return ["no latency tables; measure one with nas profile", *hidden, *broken]
    return [*text_table(["table", "entries", "measured at", "times", "calibrated for"], rows), *hidden, *broken]


def _picture_path(out: str, name: str) -> Path:
    """The file to write: `out` itself if it ends like a picture, else one in the folder `out`, which must be new or empty."""
    path = Path(out)
    if path.suffix.lower() in SUFFIXES:
        return path
    if path.suffix and not path.is_dir():
        raise ConfigError(f"out: got {out}, expected a file ending in {' or '.join(SUFFIXES)}, or a folder")
    if path.is_dir() and any(path.iterdir()):
        raise ConfigError(f"out: the folder {out} is not empty; give another, or a file, e.g. out={path / name}.png")
    return path / f"{name}.png"
