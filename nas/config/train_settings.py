"""The settings of a training; defaults are LGCNet's full-size recipe (Cheng et al., section IV-A)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas.config.checks import at_least, check_class_weights, check_size, one_of, require
from nas.devices.path_settings import expand_home, path_setting
from nas.files.value_text import value_text

TASKS = ("segmentation", "classification")


@dataclass(kw_only=True, slots=True)
class TrainSettings:
    """Settings by which a derived network is (re)trained; defaults are the paper's fine-tuning."""

    task: str = "segmentation"
    """segmentation, or classification: the network without its classifier is pretrained on classes of whole images."""
    epochs: int = 200
    """Passes over the training split (paper: 200)."""
    max_steps: int | None = None
    """Stop after this many steps; the schedule is planned for that length."""
    batch_size: int = 8
    """Images a pass through the network (paper: 8); a step takes `accumulate` of them."""
    accumulate: int = 1
    """Batches whose gradients make one step. Cross-entropy has the gradient of one batch of batch_size * accumulate images; batch
    norm sees each batch by itself, and ohem picks its pixels within each."""
    crop: list[int] | None = None
    """[height, width] of the training crop in pixels; null: the size of the images."""
    loss: str | None = None
    """cross_entropy or ohem; null: ohem (paper: online bootstrapping) for segmentation, cross_entropy for classification."""
    aux_weight: float = 0.2
    """Weight of the loss of each auxiliary output beside that of the logits, for networks that have some (FasterSeg: 0.2); 0: they
    are not trained."""
    class_weights: Any = None
    """Weight of each class in the loss: a list, null for none, or auto: 1 / ln(1.02 + share of the class in the training
    labels), the formula of ENet (arXiv:1606.02147). The loss is the weighted mean."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights, which is then what is evaluated and saved; 0: none. Step t averages
    with min(ema, (1 + t) / (10 + t)), so that a short run forgets where it started."""
    lr: float = 0.01
    """Initial learning rate of SGD (paper), poly schedule to 0."""
    power: float = 0.9
    """Exponent of the poly schedule [reading]."""
    momentum: float = 0.9
    """Momentum of SGD [reading]."""
    weight_decay: float = 5e-4
    """Weight decay [reading]."""
    grad_clip: float = 0.0
    """Largest norm of the gradient; 0: no clipping."""
    eval_every: int = 5
    """Epochs between evaluations on the validation split; 0: only after the last."""
    checkpoint_every: int = 0
    """Steps between checkpoints beside the one after every epoch; 0: none beside."""
    log_every: int = 10
    """Steps between the rows of single steps in metrics.jsonl."""

    def __post_init__(self) -> None:
        """Check the values."""
        one_of("train.task", self.task, TASKS)
        check_size("train.crop", self.crop)
        check_class_weights("train.class_weights", self.class_weights)
        require(0 <= self.ema < 1, f"train.ema: got {self.ema}, expected a decay from 0 (off) to below 1")
        at_least("train.", self, {"epochs": 1, "max_steps": 1, "batch_size": 1, "accumulate": 1, "log_every": 1})
        at_least("train.", self, dict.fromkeys(("eval_every", "checkpoint_every", "grad_clip", "aux_weight"), 0))
        at_least("train.", self, dict.fromkeys(("lr", "power", "momentum", "weight_decay"), 0))


@dataclass(kw_only=True, slots=True)
class DistillSettings:
    """Knowledge distillation: the trained network should agree with another one."""

    teacher: str | None = path_setting(None)
    """Folder of a finished `nas train` of any network on the same classes, genotype.yaml and weights.safetensors; null: none."""
    weight: float = 1.0
    """Weight of the divergence from the teacher beside the loss (FasterSeg: 1)."""
    temperature: float = 1.0
    """T, by which the logits of both are divided (FasterSeg: 1). The divergence is multiplied by T^2, so that its gradient keeps
    its size (Hinton et al.)."""
    divide_by_classes: bool | None = None
    """Divide the divergence by the number of classes, as FasterSeg's code does; null: if the genotype's space has
    fidelity: official."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("distill.", self)
        require(0 <= self.weight < float("inf"), f"distill.weight: got {self.weight}, expected at least 0")
        require(0 < self.temperature < float("inf"), f"distill.temperature: got {self.temperature}, expected a number above 0")
        for name, neutral in (("weight", 1.0), ("temperature", 1.0), ("divide_by_classes", None)):
            value = getattr(self, name)
            require(
                self.teacher is not None or value == neutral,
                f"distill.{name}: got {value_text(value)} without a teacher; add distill.teacher=RUN, or leave distill.{name} out",
            )
