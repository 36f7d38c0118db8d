"""Trackers: where a run sends its scalars and pictures beside `metrics.jsonl`, which is always complete.

A tracker is a spectator. One that cannot start refuses the run before its first step; one that fails later is named in a warning,
once, and the run goes on without it.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import ConfigError
from nas.runs import run_config
from nas.runs.trackers.tensorboard_tracker import FOLDER as TENSORBOARD_FOLDER
from nas.runs.trackers.tensorboard_tracker import TensorboardConfig, TensorboardTracker
from nas.runs.trackers.tracker import Pictures, Tracker
from nas.runs.trackers.wandb_tracker import IDENTITY as WANDB_IDENTITY
from nas.runs.trackers.wandb_tracker import WandbConfig, WandbTracker
from nas.space.genotype import FILE_NAME as GENOTYPE

__all__ = ["TRACKERS", "Pictures", "Tracker", "TrackerEntry", "Trackers", "check_trackers", "open_trackers"]

log = logging.getLogger("nas")


@dataclass(frozen=True, slots=True)
class TrackerEntry:
    """A tracker that can be chosen by name.

    Args:
        config: Its config dataclass.
        package: The package that it needs.
        start: Makes the tracker of a run from its config, the folder of the run and the run's settings.
    """

    config: type[Any]
    package: str
    start: Callable[[Any, Path, Mapping[str, Any]], Tracker]


TRACKERS: dict[str, TrackerEntry] = {
    "wandb": TrackerEntry(WandbConfig, "wandb", WandbTracker),
    "tensorboard": TrackerEntry(TensorboardConfig, "tensorboard", TensorboardTracker),
}
"""The trackers by name, which is also that of the choice `logger=NAME`."""


class Trackers:
    """The trackers of a run; none may stop it.

    Args:
        trackers: By name.
        draw: Makes the pictures that are worth keeping as the run stands; called at evaluations, if there is a tracker.
    """

    def __init__(self, trackers: Mapping[str, Tracker] | None = None, *, draw: Callable[[], Pictures] = dict) -> None:
        self._trackers, self._draw = dict(trackers or {}), draw

    def begin(self, step: int) -> None:
        """Start to write after `step` steps that an earlier part of the run has done."""
        self._each(lambda tracker: tracker.begin(step))

    def write(self, *, step: int, epoch: int, split: str, scalars: Mapping[str, float | None]) -> None:
        """Send the scalars of a split; None is left out."""
        named = {f"{split}/{name}": value for name, value in scalars.items() if value is not None}
        named[f"{split}/epoch"] = epoch
        self._each(lambda tracker: tracker.scalars(named, step=step))

    def evaluated(self, step: int) -> None:
        """Send the pictures of the run as it stands."""
        if self._trackers:
            pictures = self._draw()
            self._each(lambda tracker: tracker.pictures(pictures, step=step))

    def close(self, *, failed: bool) -> None:
        """End all trackers."""
        self._each(lambda tracker: tracker.close(failed=failed))
        self._trackers.clear()

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                tell(tracker)
            except Exception as error:  # noqa: BLE001  a spectator; whatever goes wrong there must not end the run
                del self._trackers[name]
                reason = " ".join(str(error).split()) or "no reason given"
                log.warning("%s failed (%s: %s); the run goes on without it", name, type(error).__name__, reason)


def check_trackers(settings: Mapping[str, Any]) -> None:
    """Refuse, before a run has a folder, trackers that do not exist or whose package is missing.

    Args:
        settings: Name -> config, as `logger` of a job.

    Raises:
        ConfigError: Naming the tracker and what to do.
    """
    for name, config in settings.items():
        if name not in TRACKERS or not isinstance(config, TRACKERS[name].config):
            raise ConfigError(f"logger.{name}: expected one of {', '.join(TRACKERS)}, chosen by logger=NAME or logger=[NAME,NAME]")
        package = TRACKERS[name].package
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:  # without an origin it is a mere folder of that name
            raise ConfigError(f"logger={name}: the package {package} is not installed; run pip install segnas[tracking]")


@contextmanager
def open_trackers(
    settings: Mapping[str, Any], out: Path, *, resumed: bool, draw: Callable[[], Pictures] = dict
) -> Iterator[Trackers]:
    """The trackers of a run, ended when the block is left.

    Args:
        settings: Name -> config, as `logger` of a job.
        out: Folder of the run, with its `config.yaml`.
        resumed: Whether the run goes on with an earlier one.
        draw: Makes the pictures for evaluations.

    Raises:
        ConfigError: If a tracker cannot start. A new run's folder is empty again then, so that the command can be given again.
    """
    started: dict[str, Tracker] = {}
    plain = run_config.load_config(out) if settings else {}
    try:
        for name, config in settings.items():
            started[name] = TRACKERS[name].start(config, out, plain)
    except ConfigError:
        Trackers(started).close(failed=True)
        if not resumed:
            _empty(out, [run_config.CONFIG, GENOTYPE, WANDB_IDENTITY, "wandb", TENSORBOARD_FOLDER])
        raise
    trackers = Trackers(started, draw=draw)
    try:
        yield trackers
    except BaseException:
        trackers.close(failed=True)
        raise
    trackers.close(failed=False)


def _empty(folder: Path, names: Sequence[str]) -> None:
    """Remove what a run that did not begin has left in its new folder."""
    for name in names:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
