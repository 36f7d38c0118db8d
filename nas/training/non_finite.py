"""A loss or an output that is not finite: what a run says where it stops, and which settings keep the numbers finite.

The same settings come to the same numbers again: a run that goes on from its last checkpoint stops at the same step. So the advice
is to start again with other settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nas.config.settings import SearchSettings, TrainerSettings
from nas.config.train_settings import TrainSettings
from nas.distributed.ranks import ALONE, Ranks
from nas.errors import NonFiniteLossError


@dataclass(frozen=True, slots=True)
class Steadying:
    """The settings that keep the losses of a run finite.

    Args:
        lr_key: The setting of the learning rate of the weights.
        lr: Its value.
        clip_key: The setting of the largest norm of a gradient.
        clip: Its value; 0: no clipping.
        precision: As trainer.precision.
    """

    lr_key: str = "train.lr"
    lr: float = 0.01
    clip_key: str = "train.grad_clip"
    clip: float = 0.0
    precision: str = "32-true"

    @classmethod
    def of(cls, settings: SearchSettings | TrainSettings, trainer: TrainerSettings) -> Steadying:
        """Those of a search or of a training."""
        if isinstance(settings, SearchSettings):
            return cls("search.weight_lr", settings.weight_lr, "search.grad_clip", settings.grad_clip, trainer.precision)
        return cls("train.lr", settings.lr, "train.grad_clip", settings.grad_clip, trainer.precision)

    def advice(self, out: Path) -> str:
        """What to do next, in one line.

        Args:
            out: Folder of the run.
        """
        clip = f"a smaller {self.clip_key} (now {self.clip:g})" if self.clip else f"{self.clip_key}=1 (now 0, no clipping)"
        ways = [f"a smaller {self.lr_key} (now {self.lr:g})", clip]
        if self.precision != "32-true":
            ways.append(f"trainer.precision=32-true (now {self.precision})")
        last = out / "checkpoints" / "last.pt"
        goes_on = "there is no checkpoint to resume from"
        if last.is_file():
            goes_on = f"resume={out} goes on from {last}, with the same settings to the same numbers"
        return f"start again with {', or '.join(ways)}, in another out=; {goes_on}"


class FiniteCheck:
    """Whether all outputs of an evaluation are finite; looked at on the device, and copied to the host once, at its end.

    Args:
        device: Where the outputs are.
    """

    def __init__(self, device: torch.device) -> None:
        self._all = torch.ones((), dtype=torch.bool, device=device)

    def see(self, output: Tensor) -> Tensor:
        """The output itself, once it is looked at."""
        self._all &= output.isfinite().all()
        return output

    def require(self, what: str, *, ranks: Ranks = ALONE) -> None:
        """End an evaluation.

        Args:
            what: The images that were evaluated.
            ranks: The processes that share them; all raise if one has to.

        Raises:
            NonFiniteLossError: If an output was not finite.
        """
        if ranks.any(not bool(self._all)):
            raise NonFiniteLossError(f"got logits that are not finite on {what}, of which no metric can be taken")
