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

_BF16_ON_CPU = "where most searches were measured to end in a loss of NaN, and the rest to take as long as in 32-true"


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
    check_precision(trainer, scales_gradients=scales_gradients, alone=alone)
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


def check_precision(trainer: TrainerSettings, *, scales_gradients: bool = False, alone: str = "") -> None:
    """Refuse a precision that does not go with the caller or the device; the arguments are those of `make_fabric`.

    Raises:
        ConfigError: Saying which precision does.
    """
    got = trainer.precision
    if got == "32-true":
        return
    if alone:
        raise ConfigError(f"trainer.precision: got {got}, expected 32-true, for {alone} computes in float32; leave it out")
    if got == "16-mixed" and not scales_gradients:
        raise ConfigError("trainer.precision: got 16-mixed, which only nas train knows; give 32-true, or bf16-mixed on CUDA")
    if trainer.accelerator != "cpu" and torch.cuda.is_available():
        return
    where = "trainer.accelerator=cpu" if trainer.accelerator == "cpu" else "a machine where PyTorch finds no CUDA device"
    why = "for float16 needs CUDA" if got == "16-mixed" else _BF16_ON_CPU
    raise ConfigError(f"trainer.precision: got {got} with {where}, {why}; give 32-true")


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
