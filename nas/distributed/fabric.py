"""The devices and the precision of a run, through Lightning Fabric; with several processes, those that torchrun has started."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from nas.config.settings import TrainerSettings
from nas.distributed.ranks import ALONE, Ranks
from nas.distributed.world import check_devices, world
from nas.errors import ConfigError


class Replicas(DDPStrategy):
    """Processes with a copy of the network each, whose gradients the steps themselves add up: once a step, after all passes.

    DistributedDataParallel would add them up in every backward pass, and would have to search for the parameters that a sampled
    architecture leaves out; a step of a search has several passes, some of them with frozen parameters.
    """

    def setup_module(self, module: nn.Module) -> Any:  # noqa: ANN401  declared as DistributedDataParallel
        """The module as it is."""
        return module


def make_fabric(trainer: TrainerSettings, *, scales_gradients: bool = False, alone: str = "") -> Fabric:
    """The devices and the precision of a run.

    Args:
        trainer: The settings.
        scales_gradients: Whether the caller's steps can do with float16: gradients scaled, clipped unscaled, and skipped if they
            overflow. The scaler serves one optimiser; a search has two.
        alone: What runs in one process only, for the message; empty: it can share its work.

    Raises:
        ConfigError: If the precision does not go with the caller or the device, or the number of devices with how this was started.
    """
    if trainer.precision == "16-mixed" and not scales_gradients:
        raise ConfigError("trainer.precision: got 16-mixed, which only nas train knows; give bf16-mixed or 32-true")
    if trainer.precision == "16-mixed" and (trainer.accelerator == "cpu" or not torch.cuda.is_available()):
        where = "trainer.accelerator=cpu" if trainer.accelerator == "cpu" else "a machine where PyTorch finds no CUDA device"
        raise ConfigError(f"trainer.precision: got 16-mixed with {where}, for float16 needs CUDA; give bf16-mixed or 32-true")
    started = world()
    if alone and (trainer.devices > 1 or started.count > 1):
        raise ConfigError(f"trainer.devices: got {max(trainer.devices, started.count)}, expected 1, for {alone} runs on one device")
    check_devices(trainer, started)
    if trainer.threads:
        torch.set_num_threads(trainer.threads)
    if started.count == 1:
        return Fabric(accelerator=trainer.accelerator, devices=1, precision=trainer.precision)  # type: ignore[arg-type]
    # Its banner says what the user has just given, once a process.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=trainer.accelerator,
        strategy=Replicas(),
        devices=started.local_count,
        num_nodes=started.count // started.local_count,
        precision=trainer.precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def ranks_of(fabric: Fabric) -> Ranks:
    """This process among those of a run."""
    return ALONE if fabric.world_size == 1 else Ranks(fabric.global_rank, fabric.world_size, fabric.device)


def check_shares(key: str, batch_size: int, ranks: Ranks) -> None:
    """Refuse batches that the processes cannot share equally.

    Raises:
        ConfigError: Naming the setting.
    """
    if batch_size % ranks.count:
        raise ConfigError(f"{key}: got {batch_size}, expected a multiple of {ranks.count}, the number of processes")
