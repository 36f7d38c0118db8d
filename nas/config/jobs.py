"""The jobs: the settings of each verb of the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nas.config.checks import at_least, check_size, check_ssh, check_tables, check_targets, one_of, require
from nas.config.settings import (
    DeploySettings,
    DistillSettings,
    ExportSettings,
    LatencySettings,
    SearchSettings,
    SshSettings,
    TrainerSettings,
    TrainSettings,
)
from nas.devices.path_settings import expand_home, path_setting
from nas.devices.runtimes import RUNNERS
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
    """A run to go on with, or auto."""
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
    """Initial weights (safetensors, or a checkpoint of a training, *.pt) of the same network, in its official names or in ours;
    with other classes its classifier starts from random weights, which the log says; null: all of it does."""
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
    """A run to go on with, or auto."""

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
class ProfileJob:
    """`nas profile`."""

    device: str = "auto"
    """Name of the device; auto: a slug of this machine's CPU or GPU model."""
    runtime: str = "torch-eager"
    """BACKEND[-PRECISION-bN-tN]; what is left out is fp32, b1, t1. Everywhere: onnxruntime, onnxruntime-tensorrt, tensorrt,
    torch-script; with runner=local also torch-eager, torch-compile."""
    accelerator: str | None = None
    """cpu or cuda; null: where the runtime usually runs, which is cuda for those with tensorrt in their name, else cpu."""
    runner: str = "local"
    """local: this machine. ssh: the machine host=, which needs Python 3.6 and the runtime. bundle: no machine yet; writes a zip to
    carry to one by hand, whose result nas profile import reads."""
    host: str | None = None
    """[USER@]HOST[:PORT] with runner=ssh; a Host of the SSH configuration works, too."""
    ssh: SshSettings = field(default_factory=SshSettings)
    """Settings of the log-in with runner=ssh."""
    energy: bool = False
    """Measure the energy of each operation, too, where the device states its power; not with runtimes in this process."""
    space: Any = "???"
    """The search space's own config."""
    deploy: DeploySettings = field(default_factory=DeploySettings)
    """The shape to measure for; `deploy.input` is needed."""
    num_classes: int = 11
    """Classes of the deployed network."""
    rounds: int | None = None
    """Fewest interleaved rounds over all operations; null: 10, or 4 with trtexec, which starts again for each sample."""
    max_rounds: int | None = None
    """Most rounds; what is not known by then is stored as not stable; null: 30, or 8 with trtexec."""
    ci: float = 0.02
    """An operation is finished when the 95 % confidence interval of its median is within this share of it."""
    out: str | None = path_setting(None)
    """File to write; null: latency_tables/DEVICE/RUNTIME.json under the working folder, or segnas-RUNTIME.zip with
    runner=bundle."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("", self)
        one_of("runner", self.runner, RUNNERS)
        check_ssh(self.runner, self.host, self.ssh)


@dataclass(kw_only=True, slots=True)
class ValidateJob:
    """`nas profile validate`."""

    latency: LatencySettings = field(default_factory=LatencySettings)
    """The table to validate, measured on this machine; weight and unit are not used."""
    device: str = "auto"
    """The table's device; auto: the machine that measures. Give the name if the table was measured there under a name of your
    own."""
    accelerator: str | None = None
    """cpu or cuda; null: as for `nas profile`."""
    runner: str = "local"
    """local: this machine. ssh: the machine host=."""
    host: str | None = None
    """[USER@]HOST[:PORT] with runner=ssh; a Host of the SSH configuration works, too."""
    ssh: SshSettings = field(default_factory=SshSettings)
    """Settings of the log-in with runner=ssh."""
    space: Any = "???"
    """The search space's own config."""
    deploy: DeploySettings = field(default_factory=DeploySettings)
    """The shape of the networks; `deploy.input` is needed."""
    num_classes: int = 11
    """Classes of the deployed networks."""
    samples: int = 50
    """Random networks, spread over the latencies of the space; half of them fit the calibration, the others judge it."""
    rounds: int = 10
    """Interleaved rounds over all networks; each is timed twice a round."""
    coverage: float = 0.9
    """Share of networks that the error bar should hold."""
    calibrate: bool = True
    """Write the calibration into the table."""
    seed: int = 0
    """Seed of the networks and of the order of measuring."""
    out: str | None = path_setting(None)
    """Folder of validate.json, networks.csv and scatter.png; null: a fresh one under runs/."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("", self)
        at_least("", self, {"samples": 8, "rounds": 1, "num_classes": 1, "seed": 0})
        one_of("runner", self.runner, [name for name in RUNNERS if name != "bundle"])
        check_ssh(self.runner, self.host, self.ssh)
        require(0 < self.coverage < 1, f"coverage: got {self.coverage}, expected a share above 0 and below 1")


@dataclass(kw_only=True, slots=True)
class ImportJob:
    """`nas profile import`."""

    file: str = path_setting("???")
    """The file to import: result.json of a bundle's worker; or FasterSeg's published latency table, as its authors publish it
    (.npy) or as CSV."""
    device: str | None = None
    """Name to give the device; null: that of the file, gtx-1080ti for FasterSeg's."""
    out: str | None = path_setting(None)
    """File to write; null: latency_tables/DEVICE/RUNTIME.json under the working folder. A result is added to a table that is there
    already; a published table is not."""

    def __post_init__(self) -> None:
        """Complete the paths."""
        expand_home("", self)


@dataclass(kw_only=True, slots=True)
class DevicesJob:
    """`nas profile devices`."""

    device: str | None = None
    """Name of a device; auto: this machine; null: all that have a table."""
    deploy: DeploySettings = field(default_factory=DeploySettings)
    """The shape for which to say what tables hold; null: the shapes that they were measured for."""
    num_classes: int | None = None
    """Classes of the deployed networks; null: those that the tables were measured for."""

    def __post_init__(self) -> None:
        """Check the values."""
        at_least("", self, {"num_classes": 1})


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
