"""The settings of the stages. One dataclass a section; defaults are LGCNet's full-size recipe (Cheng et al., section IV-A)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nas.config.checks import at_least, check_numbers, check_size, check_tables, check_targets, one_of, require
from nas.devices.path_settings import expand_home, path_setting
from nas.files.value_text import value_text
from nas.space.deployment import Deployment

if TYPE_CHECKING:
    from nas.space.search_space import SearchSpace

RELAXATION_NAMES = ("soft", "hard", "sampled")
EXECUTION_NAMES = ("reference", "fused")
NOISES = ("batch", "image")
LEVELS = ("single", "bilevel")
WEIGHT_LR_SCHEDULES = ("cosine", "exponential")
COMMUNICATION_STARTS = ("random", "zero")
SEARCH_LOSSES = ("cross_entropy", "ohem")
TAU_SCHEDULES = ("exponential", "linear")
UNITS = ("relative", "ms", "us")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
COMPILE_MODES = ("none", "default", "reduce-overhead", "max-autotune")
CHECKPOINTING_NAMES = ("none", "auto", "all")
EXPORT_TARGETS = ("onnxruntime", "openvino", "ncnn", "mnn", "litert", "vela", "rknn")
"""Runtimes of which something is known (`nas.exporting.runtime_facts`)."""


@dataclass(kw_only=True, slots=True)
class SearchSettings:
    """Settings by which the supernet and its architecture parameters are trained."""

    epochs: int = 60
    """Passes over the training split [reading]: the paper states hours, not epochs."""
    max_steps: int | None = None
    """Stop after this many steps; schedules are planned for that length."""
    batch_size: int = 16
    """Images a step (paper: 16)."""
    crop: list[int] | None = None
    """[height, width] of the training crop in pixels; null: the size of the images."""
    init_channels: int | None = None
    """Initial channels of the supernet; null: the space's own (lgcnet, gas and cas: 8, the paper's)."""
    relaxation: str = "soft"
    """soft (the paper's Gumbel-Softmax), hard (straight-through) or sampled (only the drawn operation runs)."""
    noise: str | None = None
    """batch: one draw for all images of a step; image: a draw for each, except in a warm-up with warmup_relaxation=sampled, which
    runs one operation for all; null: the space's own (squeezenas: image, as its authors have it; the others: batch)."""
    warmup_relaxation: str | None = None
    """Relaxation of the epochs in which only the weights move; null: `relaxation`. sampled warms up several times faster."""
    level: str = "single"
    """single: weights and architecture are updated in the same backward pass (paper). bilevel: each step updates the architecture
    on a held-out batch, then the weights on a training batch (DARTS, first order)."""
    holdout: float = 0.5
    """Share of the training split that bilevel holds out for the architecture (DARTS: 0.5). Epochs pass over the rest only."""
    passes: list[str] | None = None
    """Forward passes of a step, whose losses are added up, each SET (an architecture set) or SET:MODE (part of the architecture is
    held, e.g. student:max at full width); null: the space's own (fasterseg: teacher, student, student:max, student:min)."""
    warmup_passes: list[str] | None = None
    """The same in the epochs in which only the weights move; null: the space's own, or `passes` where these are given."""
    loss: str = "cross_entropy"
    """cross_entropy (paper) or ohem (FasterSeg's)."""
    execution: str | None = None
    """Way of running mixed operations, with the same results and checkpoints; reference: the plain weighted sum; fused: those
    that read one map together, with fewer passes over activations; null: reference for sampled, fused for soft and hard."""
    tau_start: float = 1.0
    """Temperature at the first step, and through the warm-up (paper: 1.0)."""
    tau_end: float = 0.03
    """Temperature at the end of its schedule (paper: 0.03)."""
    tau_schedule: str = "exponential"
    """exponential [reading] or linear, from tau_start to tau_end."""
    tau_share: float = 1.0
    """Share of the steps after the warm-up over which the temperature falls; from there on it is tau_end."""
    weight_lr: float = 0.025
    """Initial learning rate of SGD for the network weights (paper), to `weight_lr_end` by `weight_lr_schedule`."""
    weight_lr_end: float = 0.001
    """Final learning rate of the network weights (paper)."""
    weight_lr_schedule: str = "cosine"
    """cosine (paper) or exponential (FasterSeg's), from weight_lr to weight_lr_end."""
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
    communication_start: str = "random"
    """Communication module at the start: random (as PyTorch initialises it [reading]; LGCNet's then moves the logits further than
    they differ) or zero, so that it changes no logits until it has learned [ours]. Nothing where there is none."""
    arch_betas: list[float] = field(default_factory=lambda: [0.5, 0.999])
    """Betas of Adam (paper)."""
    arch_weight_decay: float = 1e-4
    """Weight decay of the architecture parameters (paper)."""
    warmup_epochs: int = 0
    """Epochs at the start in which only the network weights move [reading: the paper has none]."""
    candidates: int = 0
    """Architectures within the targets that are drawn from the probabilities at the end; the supernet scores them on the
    validation split, and the one of least loss is derived. 0: the most probable one (paper)."""
    eval_every: int = 1
    """Epochs between evaluations on the validation split; 0: only after the last."""
    recalibrate: int = 8
    """Training batches from which batch-norm statistics are estimated again before an evaluation; 0: the running ones."""
    checkpoint_every: int = 0
    """Steps between checkpoints beside the one after every epoch; 0: none beside."""
    log_every: int = 10
    """Steps between the rows of single steps in metrics.jsonl."""

    def __post_init__(self) -> None:
        """Check what one setting or a pair of settings can get wrong."""
        one_of("search.relaxation", self.relaxation, RELAXATION_NAMES)
        one_of("search.warmup_relaxation", self.warmup_relaxation or self.relaxation, RELAXATION_NAMES)
        one_of("search.execution", execution_of(self), EXECUTION_NAMES)
        one_of("search.noise", self.noise or "batch", NOISES)
        noise_per_image(self, default=False)
        one_of("search.level", self.level, LEVELS)
        one_of("search.tau_schedule", self.tau_schedule, TAU_SCHEDULES)
        one_of("search.weight_lr_schedule", self.weight_lr_schedule, WEIGHT_LR_SCHEDULES)
        one_of("search.loss", self.loss, SEARCH_LOSSES)
        one_of("search.communication_start", self.communication_start, COMMUNICATION_STARTS)
        require(0 < self.tau_share <= 1, f"search.tau_share: got {self.tau_share}, expected a share above 0 and up to 1")
        require(0 < self.holdout < 1, f"search.holdout: got {self.holdout}, expected a share above 0 and below 1")
        check_size("search.crop", self.crop)
        at_least("search.", self, {"epochs": 1, "max_steps": 1, "batch_size": 1, "init_channels": 1, "log_every": 1})
        at_least("search.", self, dict.fromkeys(("warmup_epochs", "candidates", "eval_every", "recalibrate"), 0))
        at_least("search.", self, dict.fromkeys(("checkpoint_every", "grad_clip"), 0))
        at_least("search.", self, dict.fromkeys(("weight_lr", "weight_lr_end", "weight_momentum", "weight_decay"), 0))
        at_least("search.", self, dict.fromkeys(("arch_lr", "communication_lr", "arch_weight_decay"), 0))
        require(
            self.tau_start >= self.tau_end > 0,
            f"search.tau_start, search.tau_end: got {self.tau_start}, {self.tau_end}, expected tau_start >= tau_end > 0",
        )
        require(
            len(self.arch_betas) == 2 and all(0 <= beta < 1 for beta in self.arch_betas),
            f"search.arch_betas: got {value_text(self.arch_betas)}, expected two numbers from 0 to below 1",
        )


def execution_of(settings: SearchSettings) -> str:
    """Execution of mixed operations where the settings leave it open: one drawn operation has nothing to be run together with."""
    default = "reference" if settings.relaxation == "sampled" else "fused"
    return default if settings.execution is None else settings.execution


def noise_per_image(settings: SearchSettings, *, default: bool) -> bool:
    """Whether each image of a step has a draw of its own.

    Args:
        settings: The settings.
        default: What the space wants where they leave it open.

    Raises:
        ConfigError: If it has, and only one operation should run for all of them.
    """
    per_image = default if settings.noise is None else settings.noise == "image"
    require(
        not (per_image and settings.relaxation == "sampled"),
        "search.relaxation: got sampled, which runs one operation for the whole batch, with noise for each image; "
        "add search.noise=batch, or take soft or hard",
    )
    return per_image


@dataclass(kw_only=True, slots=True)
class LatencySettings:
    """The latency term of the objective."""

    table: Any = path_setting("???")
    """DEVICE/RUNTIME, a path, `macs` (analytic) or `none`; or a list of tables, each with a term of its own."""
    weight: Any = 0.1
    """Weight of the latency term, or a list with one for each table. The default belongs to the relative unit [reading]. Where
    target_ms or band_fps control the weight, it is the start."""
    unit: str = "relative"
    """relative: latency over that of uniform architecture parameters [reading]; ms or us: absolute (paper: 0.005, us). A term
    with a target is latency over target."""
    target_ms: Any = None
    """Largest predicted latency of the derived network in ms, or a list with one for each table, null for those without. Dual
    ascent controls the weight after the warm-up, and derivation repairs the rest, exactly. null: the weight stays as it is."""
    band_fps: list[float] | None = None
    """[low, high] frames per second of the derived network (1000 / predicted ms) outside of which the weight is doubled or halved
    after every epoch but those of the warm-up (FasterSeg: 155, 175). null: the weight stays as it is."""
    multiplier_lr: float | None = None
    """Dual ascent: what a latency twice the target adds to the multiplier in a step; null: search.arch_lr, so that the multiplier
    moves as fast as the logits [ours]."""
    multiplier_damping: float = 1.0
    """Dual ascent: the weight is multiplier + damping * (latency / target - 1), which damps its swings around the target: the
    augmented Lagrangian with this penalty [ours]; 0: the multiplier alone."""
    multiplier_max: float = 10.0
    """Largest weight that a control may reach [ours]."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("latency.", self)
        one_of("latency.unit", self.unit, UNITS)
        count = check_tables("latency.table", self.table)
        check_numbers("latency.weight", self.weight, count=count, least=0.0)
        at_least("latency.", self, {"multiplier_lr": 0, "multiplier_damping": 0, "multiplier_max": 0})
        if self.target_ms is not None:
            check_targets("latency.target_ms", self.target_ms, count=count)
            require(self.unit == "relative", f"latency.unit: got {self.unit} with target_ms, whose unit is ms; leave unit away")
        if self.band_fps is not None:
            self._check_band(self.band_fps, count)

    def _check_band(self, band: list[float], count: int) -> None:
        require(
            self.target_ms is None,
            f"latency.band_fps: got {value_text(band)} with target_ms={value_text(self.target_ms)}, and both control the weight; "
            "leave one of them away",
        )
        good = len(band) == 2 and 0 < band[0] < band[1]
        require(good, f"latency.band_fps: got {value_text(band)}, expected [LOW,HIGH] frames per second, 0 < LOW < HIGH")
        require(count == 1, f"latency.band_fps: got {count} tables, expected one; give latency.target_ms for several")
        require(self.weights()[0] > 0, "latency.weight: got 0 with band_fps, which doubles and halves it; give a number above 0")

    def tables(self) -> int:
        """Number of tables, `none` being one."""
        return 1 if isinstance(self.table, str) else len(self.table)

    def weights(self) -> list[float]:
        """The weight of each table's term, to begin with."""
        return [float(self.weight)] * self.tables() if not isinstance(self.weight, list) else [float(one) for one in self.weight]

    def targets(self) -> list[float | None]:
        """The target of each table in ms."""
        given = self.target_ms if isinstance(self.target_ms, list) else [self.target_ms]
        return [None if one is None else float(one) for one in given] if self.target_ms is not None else [None] * self.tables()


@dataclass(kw_only=True, slots=True)
class DeploySettings:
    """The network that will run on the device."""

    input: list[int] | None = None
    """[height, width] of the deployed network's input; null: the size of the data set's images."""
    init_channels: int | None = None
    """Initial channels of the derived network; null: the space's own. That of lgcnet, gas and cas is 40 [reading]: random networks
    have 2.0-3.1 M parameters, as in the paper's Table VI."""

    def __post_init__(self) -> None:
        """Check the values."""
        check_size("deploy.input", self.input)
        at_least("deploy.", self, {"init_channels": 1})

    def deployment(self, space: SearchSpace, num_classes: int, *, size: Sequence[int] = ()) -> Deployment:
        """The deployment: these settings, with the space's channels and `size` [height, width] where they leave them open."""
        height, width = self.input or size
        return Deployment((height, width), self.init_channels or space.deploy_channels, num_classes)

    def replacing(self, deployment: Deployment, num_classes: int | None) -> Deployment:
        """A deployment with these settings, and a number of classes, in place of its own where they are given."""
        height, width = self.input or deployment.input
        return Deployment((height, width), self.init_channels or deployment.init_channels, num_classes or deployment.num_classes)


@dataclass(kw_only=True, slots=True)
class TrainerSettings:
    """Settings of the machine and of the loop."""

    accelerator: str = "auto"
    """auto, cpu or cuda."""
    devices: int = 1
    """Number of processes that share each batch, each with a GPU, or all on the CPU. Above 1, `nas search` and `nas train`
    start themselves that often under torchrun; search.batch_size and train.batch_size are those of all."""
    sync_batch_norm: bool = True
    """With several devices: statistics of batch norms in training over the whole batch, as with one device; false: each device has
    those of its own part, and the running ones are averaged after every step."""
    precision: str = "32-true"
    """Of the steps of search and train: 32-true, on CUDA also bf16-mixed, or 16-mixed (float16 with scaled gradients: `nas train`).
    Evaluations are in float32."""
    threads: int = 0
    """CPU threads of PyTorch; 0: PyTorch's own choice."""
    checkpointing: str = "none"
    """Activations that are computed again in the backward pass instead of being kept, with the same results and checkpoints. none;
    all: those inside of each cell, block or head, so that memory holds what passes between them; auto: the same for the largest of
    these parts, until the rest has at most half of all activations."""
    compile: Any = "none"
    """Mode of torch.compile for training passes: none, default (or true), reduce-overhead (CUDA graphs) or max-autotune. What is
    drawn runs eagerly, and all does, with a warning, where compiling fails."""

    def __post_init__(self) -> None:
        """Check the values."""
        one_of("trainer.checkpointing", self.checkpointing, CHECKPOINTING_NAMES)
        self.compile = {True: "default", False: "none"}.get(self.compile, self.compile)
        one_of("trainer.compile", self.compile, COMPILE_MODES)
        both = self.compile != "none" and self.checkpointing != "none"
        require(
            not both, f"trainer.compile: got {self.compile} with trainer.checkpointing={self.checkpointing}, expected one of them"
        )
        one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "cuda"))
        one_of("trainer.precision", self.precision, PRECISIONS)
        require(self.devices >= 1, f"trainer.devices: got {self.devices}, expected at least 1")
        require(self.threads >= 0, f"trainer.threads: got {self.threads}, expected at least 0")


@dataclass(kw_only=True, slots=True)
class ExportSettings:
    """Form of the exported file."""

    opset: int = 17
    """Version of the ONNX operator set, 11 to 20. TensorRT 8 reads up to 17, the 8.2 of JetPack 4 up to 13."""
    precision: str = "fp32"
    """fp32, or fp16: weights and activations are float16, images and logits stay float32."""
    output: str = "logits"
    """logits [N, classes, H, W] float32, or labels [N, 1, H, W] int64: what latency is stated for."""
    input: list[int] | None = None
    """[height, width] of the images in pixels, fixed in the file; null: deploy.input of the genotype."""
    classes: list[str] | None = None
    """Names of the classes, kept in the file; null: those of the data set that was trained on, where they are known."""
    target: str | None = None
    """The runtime that the file is for, so that the summary says what it is known to do differently; null: briefly for all."""

    def __post_init__(self) -> None:
        """Check the values."""
        require(11 <= self.opset <= 20, f"export.opset: got {self.opset}, expected 11 to 20")
        one_of("export.precision", self.precision, ("fp32", "fp16"))
        one_of("export.output", self.output, ("logits", "labels"))
        if self.target is not None:
            one_of("export.target", self.target, EXPORT_TARGETS)
        check_size("export.input", self.input)


@dataclass(kw_only=True, slots=True)
class SshSettings:
    """Log-in to another machine; its host key is always checked."""

    key: str | None = path_setting(None)
    """File of the private key; null: the keys of the SSH configuration and of the agent."""
    known_hosts: str | None = path_setting(None)
    """File of the host keys that are trusted; null: those of the SSH configuration, or ~/.ssh/known_hosts."""
    python: str = "python3"
    """The interpreter there, of Python 3.6 or newer."""
    folder: str = "~/.cache/segnas"
    """The folder there below which everything lies."""

    def __post_init__(self) -> None:
        """Complete the paths of this machine; `folder` is one of the other."""
        expand_home("ssh.", self)
