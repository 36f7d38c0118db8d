"""Report: one self-contained HTML page of a search or a training, made from the files of its folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.config.jobs import ReportJob
from nas.errors import ConfigError
from nas.reports.run_report import read_run, write_report
from nas.runs import rundir
from nas.space.search_space import SpaceEntry


@dataclass(frozen=True, slots=True)
class ReportResult:
    """A written report.

    Args:
        path: The page.
    """

    path: Path

    def summary(self) -> list[str]:
        """Human lines."""
        return [f"wrote {self.path}"]


def report(job: ReportJob, spaces: Mapping[str, SpaceEntry]) -> ReportResult:
    """Write the report of a run, finished or not.

    Raises:
        UserError: If there is no such run or a file of it is damaged.
    """
    run = Path(job.run)
    if not run.is_dir():
        raise ConfigError(f"run: got {run}, which is no folder; give the folder of a nas search or nas train")
    with rundir.held_out(job.out, "report", run=job.run) as folder:
        return ReportResult(write_report(read_run(run, spaces), folder))
