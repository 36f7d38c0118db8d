"""TensorBoard: event files in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import ConfigError
from nas.runs.trackers.tracker import Pictures, Tracker

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"
"""Folder of the event files in that of the run."""


@dataclass(kw_only=True, slots=True)
class TensorboardConfig:
    """TensorBoard: event files under OUT/tensorboard; look at them with `tensorboard --logdir OUT`."""

    flush_secs: int = 30
    """Seconds after which what was logged is on disk at the latest."""

    def __post_init__(self) -> None:
        """Check the value."""
        if self.flush_secs < 1:
            raise ConfigError(f"logger.tensorboard.flush_secs: got {self.flush_secs}, expected at least 1")


class TensorboardTracker(Tracker):
    """Writes event files; a resumed run purges the steps that it does again.

    Args:
        config: The settings.
        out: Folder of the run.
        settings: The settings of the run; `config.yaml` has them, they are not written again.
    """

    def __init__(self, config: TensorboardConfig, out: Path, settings: Mapping[str, Any]) -> None:
        del settings
        self.config, self.folder = config, out / FOLDER
        self._writer: SummaryWriter | None = None

    def begin(self, step: int) -> None:
        """Open an event file."""
        from torch.utils.tensorboard import SummaryWriter

        purge = step + 1 if self.folder.exists() else None
        self._writer = SummaryWriter(str(self.folder), purge_step=purge, flush_secs=self.config.flush_secs)

    def scalars(self, scalars: Mapping[str, float], *, step: int) -> None:
        """One curve for each name."""
        assert self._writer is not None
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def pictures(self, pictures: Pictures, *, step: int) -> None:
        """One picture for each name."""
        assert self._writer is not None
        for name, picture in pictures.items():
            self._writer.add_image(name, picture, step, dataformats="HWC")
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        """Flush and close the file."""
        del failed
        if self._writer is not None:
            self._writer.close()
