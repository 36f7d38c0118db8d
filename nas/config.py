"""The settings of the stages. One dataclass a section; defaults are the full-size recipe of the paper (SPEC section 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.errors import ConfigError

RELAXATION_NAMES = ("soft", "hard", "sampled")
UNITS = ("relative", "ms", "us")
PRECISIONS = ("32-true", "bf16-mixed")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    _require(value in allowed, f"{key}: got {value!r}, expected one of {', '.join(allowed)}")


def _at_least(section: str, settings: object, least: Mapping[str, float]) -> None:
    """Check settings of a section against the least value of each; None passes."""
    for name, bound in least.items():
        value = getattr(settings, name)
        _require(value is None or value >= bound, f"{section}{name}: got {value}, expected at least {bound:g}")


def _size(key: str, value: Sequence[int] | None) -> None:
    _require(
        value is None or (len(value) == 2 and all(side >= 1 for side in value)),
        f"{key}: got {value}, expected [HEIGHT,WIDTH] in pixels, both at least 1",
    )


@dataclass(kw_only=True, slots=True)
class SearchSettings:
    """How the supernet and its architecture parameters are trained."""

    epochs: int = 60
    """Passes over the training split [reading]: the paper states hours, not epochs."""
    max_steps: int | None = None
    """Stop after this many steps; schedules are planned for that length."""
    batch_size: int = 16
    """Images a step (paper: 16)."""
    crop: list[int] | None = None
    """[height, width] of the training crop in pixels; null: the size of the images."""
    init_channels: int = 8
    """Initial channels of the supernet (paper: 8)."""
    relaxation: str = "soft"
    """soft (the paper's Gumbel-Softmax), hard (straight-through) or sampled (only the drawn operation runs)."""
    level: str = "single"
    """single: weights and architecture are updated in the same backward pass (paper)."""
    execution: str = "reference"
    """How mixed operations are run; reference: the plain weighted sum."""
    tau_start: float = 1.0
    """Temperature at the first step (paper: 1.0)."""
    tau_end: float = 0.03
    """Temperature at the last step (paper: 0.03); exponential in between [reading]."""
    weight_lr: float = 0.025
    """Initial learning rate of SGD for the network weights (paper), cosine to `weight_lr_end`."""
    weight_lr_end: float = 0.001
    """Final learning rate of the network weights (paper)."""
    weight_momentum: float = 0.9
    """Momentum of SGD (paper)."""
    weight_decay: float = 1e-3
    """Weight decay of the network weights (paper)."""
    grad_clip: float = 5.0
    """Largest norm of the gradient of the network weights [reading]; 0: no clipping."""
    arch_lr: float = 1e-3
    """Learning rate of Adam for the architecture parameters (paper); a short search needs more, e.g. 1e-2."""
    communication_lr: float | None = None
    """Learning rate of the communication module; null: `arch_lr` (paper). A step of Adam moves each of its many weights, and the
    logits by their sum, so that at equal rates it outruns the logits themselves: a short search wants it 10 to 100 times lower."""
    arch_betas: list[float] = field(default_factory=lambda: [0.5, 0.999])
    """Betas of Adam (paper)."""
    arch_weight_decay: float = 1e-4
    """Weight decay of the architecture parameters (paper)."""
    warmup_epochs: int = 0
    """Epochs at the start in which only the network weights move [reading: the paper has none]."""
    eval_every: int = 1
    """Epochs between evaluations on the validation split; 0: only after the last."""
    checkpoint_every: int = 0
    """Steps between checkpoints beside the one after every epoch; 0: none beside."""
    log_every: int = 10
    """Steps between the rows of single steps in metrics.jsonl."""

    def __post_init__(self) -> None:
        """Check what one setting or a pair of settings can get wrong."""
        _one_of("search.relaxation", self.relaxation, RELAXATION_NAMES)
        _one_of("search.level", self.level, ("single",))
        _size("search.crop", self.crop)
        _at_least("search.", self, {"epochs": 1, "max_steps": 1, "batch_size": 1, "init_channels": 1, "log_every": 1})
        _at_least("search.", self, dict.fromkeys(("warmup_epochs", "eval_every", "checkpoint_every", "grad_clip"), 0))
        _at_least("search.", self, dict.fromkeys(("weight_lr", "weight_lr_end", "weight_momentum", "weight_decay"), 0))
        _at_least("search.", self, dict.fromkeys(("arch_lr", "communication_lr", "arch_weight_decay"), 0))
        _require(
            self.tau_start >= self.tau_end > 0,
            f"search.tau_start, search.tau_end: got {self.tau_start}, {self.tau_end}, expected tau_start >= tau_end > 0",
        )
        _require(
            len(self.arch_betas) == 2 and all(0 <= beta < 1 for beta in self.arch_betas),
            f"search.arch_betas: got {self.arch_betas}, expected two numbers from 0 to below 1",
        )


@dataclass(kw_only=True, slots=True)
class LatencySettings:
    """The latency term of the objective."""

    table: str = "???"
    """DEVICE/RUNTIME, a path, `macs` (analytic) or `none`."""
    weight: float = 0.1
    """Weight of the latency term. The default belongs to the relative unit [reading]."""
    unit: str = "relative"
    """relative: latency over that of uniform architecture parameters [reading]; ms or us: absolute (paper: 0.005, us)."""

    def __post_init__(self) -> None:
        """Check the values."""
        _one_of("latency.unit", self.unit, UNITS)
        _require(self.weight >= 0, f"latency.weight: got {self.weight}, expected at least 0")


@dataclass(kw_only=True, slots=True)
class DeploySettings:
    """The network that will run on the device."""

    input: list[int] | None = None
    """[height, width] of the deployed network's input; null: the size of the data set's images."""
    init_channels: int = 40
    """Initial channels of the derived network [reading]: random networks have 2.0-3.1 M parameters, as in the paper's Table VI."""

    def __post_init__(self) -> None:
        """Check the values."""
        _size("deploy.input", self.input)
        _require(self.init_channels >= 1, f"deploy.init_channels: got {self.init_channels}, expected at least 1")


@dataclass(kw_only=True, slots=True)
class TrainerSettings:
    """Where and how the loop runs."""

    accelerator: str = "auto"
    """auto, cpu or cuda."""
    devices: int = 1
    """Number of devices."""
    precision: str = "32-true"
    """32-true or bf16-mixed."""
    threads: int = 0
    """CPU threads of PyTorch; 0: PyTorch's own choice."""

    def __post_init__(self) -> None:
        """Check the values."""
        _one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "cuda"))
        _one_of("trainer.precision", self.precision, PRECISIONS)
        _require(self.devices == 1, f"trainer.devices: got {self.devices}, expected 1; several devices do not work yet")
        _require(self.threads >= 0, f"trainer.threads: got {self.threads}, expected at least 0")


@dataclass(kw_only=True, slots=True)
class TrainSettings:
    """How a derived network is (re)trained; defaults are the paper's fine-tuning."""

    epochs: int = 200
    """Passes over the training split (paper: 200)."""
    max_steps: int | None = None
    """Stop after this many steps; the schedule is planned for that length."""
    batch_size: int = 8
    """Images a step (paper: 8)."""
    crop: list[int] | None = None
    """[height, width] of the training crop in pixels; null: the size of the images."""
    loss: str = "ohem"
    """cross_entropy or ohem (paper: online bootstrapping)."""
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
        _size("train.crop", self.crop)
        _at_least("train.", self, {"epochs": 1, "max_steps": 1, "batch_size": 1, "log_every": 1})
        _at_least("train.", self, dict.fromkeys(("eval_every", "checkpoint_every", "grad_clip"), 0))
        _at_least("train.", self, dict.fromkeys(("lr", "power", "momentum", "weight_decay"), 0))


@dataclass(kw_only=True, slots=True)
class SearchJob:
    """`nas search`."""

    space: Any = "???"
    """The search space's own config."""
    data: Any = "???"
    """The data set's own config."""
    search: SearchSettings = field(default_factory=SearchSettings)
    """How to search."""
    latency: LatencySettings = field(default_factory=LatencySettings)
    """What latency costs."""
    deploy: DeploySettings = field(default_factory=DeploySettings)
    """What will be deployed."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """Where it runs."""
    seed: int = 0
    """Seed of everything random."""
    out: str | None = None
    """Folder of the run; null: a fresh one under runs/."""
    resume: str | None = None
    """A run to go on with, or auto."""


@dataclass(kw_only=True, slots=True)
class DeriveJob:
    """`nas derive`."""

    run: str = "???"
    """Folder of a search."""
    checkpoint: str = "last"
    """last or best."""
    out: str | None = None
    """Folder of genotype.yaml; null: the run's own."""


@dataclass(kw_only=True, slots=True)
class TrainJob:
    """`nas train`."""

    genotype: str = "???"
    """A file, a published name, or a run with a genotype.yaml."""
    data: Any = "???"
    """The data set's own config."""
    train: TrainSettings = field(default_factory=TrainSettings)
    """How to train."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """Where it runs."""
    weights: str | None = None
    """Initial weights (safetensors); null: from scratch."""
    seed: int = 0
    """Seed of everything random."""
    out: str | None = None
    """Folder of the run; null: a fresh one under runs/."""
    resume: str | None = None
    """A run to go on with, or auto."""


@dataclass(kw_only=True, slots=True)
class EvalJob:
    """`nas eval`."""

    run: str | None = None
    """Folder of a training; or give genotype= and weights=."""
    genotype: str | None = None
    """A file, a published name, or a run with a genotype.yaml."""
    weights: str | None = None
    """Weights (safetensors)."""
    data: Any = "???"
    """The data set's own config."""
    split: str = "test"
    """train, val or test."""
    batch_size: int = 4
    """Images at once."""
    pictures: int = 8
    """Number of overlays to write, spread over the split; 0: none."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """Where it runs."""
    out: str | None = None
    """Folder of eval.json and predictions/; null: the run's own folder, or a fresh one under runs/."""

    def __post_init__(self) -> None:
        """Check the values."""
        _at_least("", self, {"batch_size": 1, "pictures": 0})


@dataclass(kw_only=True, slots=True)
class ProfileJob:
    """`nas profile`."""

    device: str = "auto"
    """Name of the device; auto: a slug of this machine's CPU or GPU model."""
    runtime: str = "torch-eager"
    """BACKEND[-PRECISION-bN-tN]; what is left out is fp32, b1, t1."""
    accelerator: str = "cpu"
    """cpu or cuda."""
    space: Any = "???"
    """The search space's own config."""
    deploy: DeploySettings = field(default_factory=DeploySettings)
    """The shape to measure for; `deploy.input` is needed."""
    num_classes: int = 11
    """Classes of the deployed network."""
    rounds: int = 10
    """Interleaved rounds over all operations."""
    out: str | None = None
    """File to write; null: latency_tables/DEVICE/RUNTIME.json under the working folder."""


@dataclass(kw_only=True, slots=True)
class PredictJob:
    """`nas predict`."""

    genotype: str = "???"
    """A file, a published name, or a run with a genotype.yaml."""
    latency: LatencySettings = field(default_factory=LatencySettings)
    """The table to look up; weight and unit are not used."""
    out: str | None = None
    """Folder for predict.json."""


@dataclass(kw_only=True, slots=True)
class ShowJob:
    """`nas show`."""

    genotype: str | None = None
    """A file, a published name, or a run with a genotype.yaml."""
    space: Any = None
    """A search space's own config."""
    list: str | None = None
    """spaces, genotypes or tables."""
    latency: LatencySettings = field(default_factory=lambda: LatencySettings(table="none"))
    """A table for the ms per part."""
    deploy: DeploySettings = field(default_factory=DeploySettings)
    """The shape for which a space is shown."""
    num_classes: int = 11
    """Classes for which a space is shown."""
    out: str | None = None
    """Picture to write: a .png or .svg file, or a folder."""
