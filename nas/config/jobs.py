"""The jobs: the settings of each verb of the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nas.config.checks import at_least, check_size, check_tables, check_targets, require
from nas.config.onnx_settings import OnnxFileSettings
from nas.config.settings import DeploySettings, ExportSettings, LatencySettings, SearchSettings, TrainerSettings
from nas.config.train_settings import DistillSettings, TrainSettings
from nas.devices.path_settings import expand_home, path_setting
from nas.files.value_text import value_text


@dataclass(kw_only=True, slots=True)
class SearchJob:
    """`nas search`."""

    space: Any = "???"
    """The search space's own config."""
    data: Any = "???"
    """The data set's own config."""
    search: SearchSettings = field(default_factory=SearchSettings)
    """Settings of the search."""
    latency: LatencySettings = field(default_factory=LatencySettings)
    """Cost of latency."""
    deploy: DeploySettings = field(default_factory=DeploySettings)
    """The deployed network."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """Settings of the machine and its devices."""
    logger: dict[str, Any] = field(default_factory=dict)
    """Trackers beside metrics.jsonl, by name: logger=wandb, logger=tensorboard or logger=[wandb,tensorboard]."""
    seed: int = 0
    """Seed of everything random."""
    out: str | None = path_setting(None)
    """Folder of the run; null: a fresh one under runs/."""
    resume: str | None = path_setting(None)
    """A run to go on with, or auto: the newest unfinished one with these settings, or beside out= what is there, if anything."""
    accept_changes: bool = False
    """Whether a resumed run may go on although its table, images, classes, teacher or initial weights are others than when it was
    started; what differs is said."""
    plan: bool = False
    """Train nothing: state memory and time of every relaxation, execution and checkpointing from short probes, and what fits; with
    out=FOLDER also in plan.json there."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("", self)
        if self.plan:
            require(self.resume is None, f"resume: got {self.resume} with plan=true, which trains nothing; leave one of them away")
            require(
                self.trainer.devices == 1,
                f"trainer.devices: got {self.trainer.devices} with plan=true, which plans for one process; leave trainer.devices "
                "out, and give one device's share of search.batch_size",
            )


@dataclass(kw_only=True, slots=True)
class DeriveJob:
    """`nas derive`."""

    run: str = path_setting("???")
    """Folder of a search."""
    checkpoint: str = "last"
    """last or best."""
    sample: int | None = None
    """Draw the architecture from the search's probabilities, with this seed; null: the most probable option of each decision."""
    target_ms: Any = None
    """Largest predicted latency in ms, or a list with one for each table, null for those without: the derived architecture is the
    most probable one within it. null: the search's own latency.target_ms, if it had one."""
    targets: list[float] | None = None
    """Several targets in ms: a genotype for each from the same supernet, genotype_TARGETms.yaml, dominated ones left out, with
    front.json and front.png; null: one genotype."""
    table: Any = path_setting(None)
    """Tables to predict with, as in latency.table; null: those of the search."""
    out: str | None = path_setting(None)
    """Folder of genotype.yaml; null: the run's own."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("", self)
        at_least("", self, {"sample": 0})
        if self.table is not None:
            check_tables("table", self.table)
        if self.target_ms is not None:
            given = len(self.target_ms) if isinstance(self.target_ms, list) else 1  # the search knows how many tables there are
            check_targets("target_ms", self.target_ms, count=given)
        if self.targets is not None:
            self._check_front(self.targets)

    def _check_front(self, targets: list[float]) -> None:
        good = len(targets) >= 1 and all(0 < target < float("inf") for target in targets)
        require(
            good and len({f"{t:g}" for t in targets}) == len(targets),
            f"targets: got {value_text(targets)}, expected different ms above 0",
        )
        for key in ("target_ms", "sample"):
            value = getattr(self, key)
            require(
                value is None,
                f"{key}: got {value_text(value)} with targets, which has a target for each genotype; leave one of them away",
            )


@dataclass(kw_only=True, slots=True)
class TrainJob:
    """`nas train`."""

    genotype: str = path_setting("???")
    """A file, a published name, or a run with a genotype.yaml."""
    data: Any = "???"
    """The data set's own config."""
    train: TrainSettings = field(default_factory=TrainSettings)
    """Settings of the training."""
    distill: DistillSettings = field(default_factory=DistillSettings)
    """The trained network to learn from, beside the labels."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """Settings of the machine and its devices."""
    weights: str | None = path_setting(None)
    """Initial weights of the same network: a file (safetensors, or a checkpoint, *.pt) in its official names or in ours, or the
    folder of a training or of a search, whose supernet has the network's widths. With other classes its classifier starts from
    random weights, which the log says; null: all of it does."""
    encoder_weights: str | None = path_setting(None)
    """Initial weights (as weights=) of all but the classifier, which starts from random weights: from a training with
    train.task=classification, or from a segmentation with other classes."""
    logger: dict[str, Any] = field(default_factory=dict)
    """Trackers beside metrics.jsonl, by name: logger=wandb, logger=tensorboard or logger=[wandb,tensorboard]."""
    seed: int = 0
    """Seed of everything random."""
    out: str | None = path_setting(None)
    """Folder of the run; null: a fresh one under runs/."""
    resume: str | None = path_setting(None)
    """A run to go on with, or auto: the newest unfinished one with these settings, or beside out= what is there, if anything."""
    accept_changes: bool = False
    """Whether a resumed run may go on although its table, images, classes, teacher or initial weights are others than when it was
    started; what differs is said."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("", self)
        both = self.weights is not None and self.encoder_weights is not None
        require(not both, "weights, encoder_weights: got both, expected at most one of them; leave one out")
        images = self.train.task == "classification"
        require(
            not (images and self.distill.teacher is not None),
            f"distill.teacher: got {self.distill.teacher} with train.task=classification, expected a segmentation, for the teacher "
            "tells the classes of pixels; leave distill.teacher out",
        )


@dataclass(kw_only=True, slots=True)
class EvalJob:
    """`nas eval`."""

    run: str | None = path_setting(None)
    """Folder of a training; or give genotype= and weights=."""
    genotype: str | None = path_setting(None)
    """A file, a published name, or a run with a genotype.yaml."""
    weights: str | None = path_setting(None)
    """Weights (safetensors), or a checkpoint of a training (*.pt); null: those that the run ended with."""
    checkpoint: str | None = None
    """last or best: that checkpoint of the run in place of the weights that it ended with."""
    data: Any = None
    """The data set's own config; null: that of the training, from the folder run= or the one that the weights lie in. Without
    data=NAME, data.KEY=VALUE replaces a setting of it. With images= only its class names and colours and data.exif count."""
    split: str = "test"
    """train, val or test."""
    full_resolution: bool | None = None
    """Resize predictions to the size of the label files and count there, whatever data.size is; null: as the data set's own
    protocol has it (Cityscapes: yes, the others: no)."""
    class_map: str | None = path_setting(None)
    """Evaluate a network on data with other classes: cityscapes_to_camvid, or a YAML file of lines NETWORK_CLASS: DATA_CLASS that
    names every class of the network; each predicted class counts as that of the data. null: the classes are the same."""
    images: str | None = path_setting(None)
    """Your own pictures without labels, in place of a split: an image, a folder of images, or a video."""
    images_size: list[int] | None = None
    """[height, width] that your pictures are resized to for the network; null: deploy.input of the genotype. Predictions are
    resized back to each picture's own size."""
    every_frame: int = 1
    """Take every n-th frame of a video."""
    onnx: str | None = path_setting(None)
    """An ONNX file in place of run= or genotype= and weights=, from nas export or of anybody: one input of images, one output of
    logits or labels."""
    onnx_file: OnnxFileSettings = field(default_factory=OnnxFileSettings)
    """What an ONNX file of others does not say of itself."""
    latency: LatencySettings = field(default_factory=lambda: LatencySettings(table="none"))
    """A table for the ms and FPS beside mIoU; none: those that the genotype states, if they are of this size."""
    batch_size: int = 4
    """Images at once."""
    pictures: int = 8
    """Number of overlays to write, spread over the split; 0: none. With images= each picture has one."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """Settings of the machine and its devices."""
    out: str | None = path_setting(None)
    """Folder of eval.json and predictions/; null: the run's own folder, or a fresh one under runs/ (with images= always)."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("", self)
        at_least("", self, {"batch_size": 1, "pictures": 0, "every_frame": 1})
        check_size("images_size", self.images_size)
        self._check_onnx()
        if self.images is None:
            for key, given in (("images_size", self.images_size is not None), ("every_frame", self.every_frame != 1)):
                require(
                    not given, f"{key}: got {value_text(getattr(self, key))} without images=; give images=, or leave {key} away"
                )
        else:
            settings = {"split": "test", "full_resolution": None, "class_map": None}
            for key, given in ((key, getattr(self, key) != default) for key, default in settings.items()):
                value = getattr(self, key)
                require(
                    not given,
                    f"{key}: got {value_text(value)} with images=, which have no splits or labels; leave one of the two away",
                )

    def _check_onnx(self) -> None:
        """Refuse what an ONNX file has no use for, and settings of one where there is none."""
        if self.onnx is None:
            require(
                self.onnx_file == OnnxFileSettings(), "onnx_file: got a value without onnx=FILE; give it, or leave onnx_file away"
            )
            return
        for key in ("run", "genotype", "weights", "checkpoint"):
            value = getattr(self, key)
            require(value is None, f"{key}: got {value} with onnx={self.onnx}, which has weights of its own; leave {key} away")
        require(
            self.latency.table == "none",
            f"latency.table: got {value_text(self.latency.table)} with onnx={self.onnx}, and tables hold operations of genotypes; "
            "leave latency.table away",
        )
        require(
            self.trainer.accelerator != "cuda",
            f"trainer.accelerator: got cuda with onnx={self.onnx}, which runs on the CPU; leave trainer.accelerator away",
        )


@dataclass(kw_only=True, slots=True)
class ExportJob:
    """`nas export`."""

    run: str | None = path_setting(None)
    """Folder of a training; or give genotype= and weights=."""
    genotype: str | None = path_setting(None)
    """A file, a published name, or a run with a genotype.yaml."""
    weights: str | None = path_setting(None)
    """Weights (safetensors), or a checkpoint of a training (*.pt); null: those that the run ended with."""
    checkpoint: str | None = None
    """last or best: that checkpoint of the run in place of the weights that it ended with."""
    export: ExportSettings = field(default_factory=ExportSettings)
    """Form of the file."""
    out: str | None = path_setting(None)
    """Folder of model.onnx and export.json; null: the run's own folder, or a fresh one under runs/."""

    def __post_init__(self) -> None:
        """Complete the paths."""
        expand_home("", self)


@dataclass(kw_only=True, slots=True)
class PredictJob:
    """`nas predict`."""

    genotype: str | None = path_setting(None)
    """A file, a published name, or a run with a genotype.yaml."""
    run: str | None = path_setting(None)
    """Folder of a run with a genotype.yaml, in place of genotype=."""
    deploy: DeploySettings = field(default_factory=DeploySettings)
    """The shape to predict for in place of the genotype's, which is that of a training's validation images."""
    num_classes: int | None = None
    """Classes of the network; null: the genotype's."""
    latency: LatencySettings = field(default_factory=LatencySettings)
    """The table to look up; weight and unit are not used."""
    out: str | None = path_setting(None)
    """Folder for predict.json."""

    def __post_init__(self) -> None:
        """Complete the paths, and check the values."""
        expand_home("", self)
        at_least("", self, {"num_classes": 1})


@dataclass(kw_only=True, slots=True)
class ShowJob:
    """`nas show`."""

    genotype: str | None = path_setting(None)
    """A file, a published name, or a run with a genotype.yaml."""
    run: str | None = path_setting(None)
    """Folder of a run with a genotype.yaml, in place of genotype=."""
    space: Any = None
    """A search space's own config."""
    list: str | None = None
    """spaces, genotypes or tables."""
    latency: LatencySettings = field(default_factory=lambda: LatencySettings(table="none"))
    """A table for the ms per part."""
    deploy: DeploySettings = field(default_factory=DeploySettings)
    """The shape for which a space is shown, or a genotype in place of its own."""
    num_classes: int | None = None
    """Classes for which a space is shown (null: 11), or a genotype (null: its own)."""
    out: str | None = path_setting(None)
    """Picture to write: a .png or .svg file, or a folder."""

    def __post_init__(self) -> None:
        """Complete the paths, and check the values."""
        expand_home("", self)
        at_least("", self, {"num_classes": 1})


@dataclass(kw_only=True, slots=True)
class ReportJob:
    """`nas report`."""

    run: str = path_setting("???")
    """Folder of a search or a training, finished or not."""
    out: str | None = path_setting(None)
    """Folder of report.html; null: the run's own."""

    def __post_init__(self) -> None:
        """Complete the paths."""
        expand_home("", self)
