"""Weights & Biases: a run on its server, or one in the run's folder that `wandb sync` sends later."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import ConfigError
from nas.files.atomic import write_text_atomic
from nas.files.strict_json import as_text, parse_strict
from nas.runs.trackers.tracker import Pictures, Tracker

if TYPE_CHECKING:
    from wandb import Run

log = logging.getLogger("nas")

MODES = ("online", "offline", "disabled")
IDENTITY = "wandb.json"
"""File in the run's folder with the id, so that a resumed run goes on with the same run of wandb."""


@dataclass(kw_only=True, slots=True)
class WandbConfig:
    """Weights & Biases; the files of wandb itself lie under OUT/wandb."""

    project: str = "segnas"
    """Project of the run."""
    entity: str | None = None
    """User or team; null: wandb's default for this login."""
    name: str | None = None
    """Name of the run; null: that of its folder."""
    group: str | None = None
    """Group of runs."""
    tags: list[str] = field(default_factory=list)
    """Tags of the run."""
    mode: str = "online"
    """online, offline (files only, no network; `wandb sync OUT/wandb/offline-run-*` sends them later) or disabled (nothing)."""

    def __post_init__(self) -> None:
        """Check the value."""
        if self.mode not in MODES:
            raise ConfigError(f"logger.wandb.mode: got {self.mode!r}, expected one of {', '.join(MODES)}")


class WandbTracker(Tracker):
    """One run of wandb, with the settings as plain data.

    A resumed run goes on under the id that is in `wandb.json`. The server takes each step once: steps that are done again after a
    resume are left as they were logged first.

    Args:
        config: The settings of the tracker.
        out: Folder of the run.
        settings: The settings of the run as plain data.

    Raises:
        ConfigError: If wandb refuses to start, for want of a login or of the network.
    """

    def __init__(self, config: WandbConfig, out: Path, settings: Mapping[str, Any]) -> None:
        if config.mode != "online":
            os.environ["WANDB_ERROR_REPORTING"] = "false"  # else the service of wandb sends telemetry, also of an offline run
        import wandb

        identity = out / IDENTITY
        known = _known_id(identity) if identity.exists() else None
        try:
            self._run: Run = wandb.init(
                project=config.project,
                entity=config.entity,
                name=config.name or out.resolve().name,
                group=config.group,
                tags=config.tags,
                mode=config.mode,  # type: ignore[arg-type]
                id=known,
                resume="allow" if config.mode == "online" else None,
                dir=str(out),
                config=dict(settings),
                settings=wandb.Settings(console="off", silent=True),
            )
        except (wandb.errors.Error, OSError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"logger.wandb: cannot start ({reason}); run wandb login, or give logger.wandb.mode=offline, or leave it out"
            ) from error
        if config.mode != "disabled":
            facts = {"id": self._run.id, **{key: asdict(config)[key] for key in ("project", "entity")}}
            write_text_atomic(identity, json.dumps(facts, indent=2) + "\n")
        if config.mode == "online":
            log.info("wandb: %s", self._run.url)

    def begin(self, step: int) -> None:
        """Nothing to do: wandb itself knows how far it is."""
        del step

    def scalars(self, scalars: Mapping[str, float], *, step: int) -> None:
        """One row of the history; scalars of one step share it."""
        self._run.log(dict(scalars), step=step)

    def pictures(self, pictures: Pictures, *, step: int) -> None:
        """Pictures in the row of the step."""
        import wandb

        self._run.log({name: wandb.Image(picture) for name, picture in pictures.items()}, step=step)

    def close(self, *, failed: bool) -> None:
        """Finish the run; wandb marks it as failed if it did not come to its end."""
        self._run.finish(exit_code=1 if failed else 0)


def _known_id(path: Path) -> str:
    """The identifier of the run in wandb, as an earlier part of it noted."""
    try:
        content = parse_strict(path.read_text(encoding="utf-8"))
        return as_text(content.get("id") if isinstance(content, dict) else None, "id")
    except ValueError as error:
        raise ConfigError(f"{path}: {error}; put it back, or remove it: wandb then begins a new run") from error
