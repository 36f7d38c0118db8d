"""Several processes for one command: who this process is among them, and how a command starts itself that often under torchrun."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.errors import ConfigError

if TYPE_CHECKING:
    from nas.config.settings import TrainerSettings

VERBS = ("search", "train")
"""The verbs whose work processes can share."""


@dataclass(frozen=True, slots=True)
class World:
    """Processes of a job, as torchrun states them.

    Args:
        number: This process, from 0.
        count: All processes.
        local_count: Those on this machine.
    """

    number: int = 0
    count: int = 1
    local_count: int = 1


def world(environment: Mapping[str, str] = os.environ) -> World:
    """The processes of this job; one where torchrun did not start it."""
    if "TORCHELASTIC_RUN_ID" not in environment:
        return World()
    return World(int(environment["RANK"]), int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"]))


def meeting_id(process: int) -> str:
    """A name for a meeting of processes that one process of this machine starts; `starter` reads the number back."""
    return f"nas-{process}-{uuid.uuid4()}"


def starter(environment: Mapping[str, str] = os.environ) -> int | None:
    """Number of the process that started this one as one of several; None: torchrun did, or it is alone.

    >>> starter({"TORCHELASTIC_RUN_ID": meeting_id(321)}), starter({"TORCHELASTIC_RUN_ID": "none"}), starter({})
    (321, None, None)
    """
    first, _, rest = environment.get("TORCHELASTIC_RUN_ID", "").partition("-")
    number = rest.partition("-")[0]
    return int(number) if first == "nas" and number.isdecimal() else None


def check_devices(trainer: TrainerSettings, started: World, *, starts: bool = False) -> None:
    """Refuse a number of devices that this machine does not have, or that is not how many processes were started.

    Args:
        trainer: The settings.
        started: The processes of this job.
        starts: Whether more of them are about to be started.

    Raises:
        ConfigError: Saying what to give.
    """
    import torch

    wanted = max(trainer.devices, started.local_count)
    if trainer.accelerator != "cpu" and torch.cuda.is_available() and wanted > (found := torch.cuda.device_count()):
        raise ConfigError(
            f"trainer.devices: got {wanted}, but PyTorch finds {found} for CUDA; give at most {found}, or trainer.accelerator=cpu"
        )
    if starts or trainer.devices in (1, started.local_count):
        return
    if started.count == 1:
        raise ConfigError(
            f"trainer.devices: got {trainer.devices} in one process; run nas search or nas train with it, "
            f"or torchrun --nproc-per-node={trainer.devices} -m nas"
        )
    raise ConfigError(
        f"trainer.devices: got {trainer.devices} where torchrun started {started.local_count} processes; leave trainer.devices out"
    )
