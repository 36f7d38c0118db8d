"""The settings of `nas bench`: which networks are timed side by side, at which sizes, where and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nas.config.checks import at_least, check_size, check_ssh, check_tables, one_of, require
from nas.config.settings import SshSettings
from nas.devices.path_settings import expand_home, path_setting
from nas.devices.runtimes import RUNNERS
from nas.files.value_text import value_text

DEFAULT_ROUNDS = 10
PROTOCOLS = ("rounds", "survey")


@dataclass(kw_only=True, slots=True)
class BenchSettings:
    """Images that the networks are timed on."""

    sizes: Any = None
    """Sizes of the images, e.g. [[360,480],[512,1024]], each [height, width] in pixels; null: the deployed size of each network."""
    evaluations: Any = path_setting(None)
    """Folders of evaluations, or one, whose mIoU is shown beside the networks with the weights or the ONNX file that was evaluated;
    null: the eval.json in the folder of each run alone."""
    processing: bool = True
    """Time what comes before and after a network, too, on one thread of this machine: decode, resize, normalise, argmax, resize of
    labels. Only with runner=local and protocol=rounds."""
    picture: str | None = path_setting(None)
    """A picture for that, which is resized to each size; null: a drawn scene that has each size already."""

    @property
    def evaluation_folders(self) -> list[str]:
        """The folders of evaluations, as they are given."""
        if self.evaluations is None:
            return []
        return list(self.evaluations) if isinstance(self.evaluations, list) else [self.evaluations]

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("bench.", self)
        good = all(isinstance(one, str) and one for one in self.evaluation_folders)
        require(good, f"bench.evaluations: got {value_text(self.evaluations)}, expected null, a folder or a list of folders")
        if self.sizes is None:
            return
        good = isinstance(self.sizes, list) and len(self.sizes) >= 1 and all(isinstance(size, list) for size in self.sizes)
        require(good, f"bench.sizes: got {value_text(self.sizes)}, expected a list of sizes, e.g. [[360,480],[512,1024]]")
        for size in self.sizes:
            check_size("bench.sizes", size)
        each_once = len({tuple(size) for size in self.sizes}) == len(self.sizes)
        require(each_once, f"bench.sizes: got {value_text(self.sizes)}, expected each size once")


@dataclass(kw_only=True, slots=True)
class BenchTableSettings:
    """Tables to predict with."""

    table: Any = path_setting("auto")
    """DEVICE/RUNTIME, a path, or a list of tables, one a runtime; auto: that of the device and runtime, if there is one; none."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("latency.", self)
        check_tables("latency.table", self.table)


@dataclass(kw_only=True, slots=True)
class BenchNetworksJob:
    """`nas bench`."""

    networks: Any = path_setting("???")
    """What is timed side by side, one or a list: genotypes (a file, a run or a published name) and ONNX files (*.onnx) of whoever
    made them."""
    bench: BenchSettings = field(default_factory=BenchSettings)
    """Images that the networks are timed on."""
    num_classes: int | None = None
    """Classes of the genotypes' networks; null: those of each."""
    runtime: Any = "torch-eager"
    """What runs the networks, as in nas profile, or a list of runtimes; those of PyTorch run genotypes alone."""
    accelerator: str | None = None
    """cpu or cuda; null: as for nas profile."""
    device: str = "auto"
    """Name of the device; auto: a slug of its CPU or GPU model."""
    runner: str = "local"
    """local: this machine. ssh: the machine host=. bundle: no machine yet; writes a zip to carry to one by hand, whose result
    result= reads."""
    result: str | None = path_setting(None)
    """result.json of a bundle, with runner=bundle and otherwise the same settings as when the bundle was made."""
    host: str | None = None
    """[USER@]HOST[:PORT] with runner=ssh; a Host of the SSH configuration works, too."""
    ssh: SshSettings = field(default_factory=SshSettings)
    """Settings of the log-in with runner=ssh."""
    protocol: str = "rounds"
    """rounds: interleaved rounds over all networks of a size, from image to label map, without drift. survey: that of Holder and
    Shafique's survey, the mean of 100 forward passes to logits, one network after another, in eager PyTorch, fp32, batch 1."""
    rounds: int | None = None
    """Rounds of protocol=rounds; each network is timed twice a round. null: 10."""
    latency: BenchTableSettings = field(default_factory=BenchTableSettings)
    """Predictions beside the measurements."""
    seed: int = 0
    """Seed of the weights and of the order of measuring."""
    out: str | None = path_setting(None)
    """Folder of bench.csv, bench.json, bench.png and bench.html, null: a fresh one under runs/; or of a bundle the zip, null:
    segnas-networks-RUNTIME.zip."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("", self)
        for key, values in (("networks", self.names), ("runtime", self.runtimes)):
            good = len(values) >= 1 and all(isinstance(one, str) and one for one in values) and len(set(values)) == len(values)
            require(good, f"{key}: got {value_text(values)}, expected one or more names, each once")
        at_least("", self, {"num_classes": 1, "rounds": 1, "seed": 0})
        one_of("runner", self.runner, RUNNERS)
        check_ssh(self.runner, self.host, self.ssh)
        if self.runner == "bundle":
            require(len(self.runtimes) == 1, f"runtime: got {value_text(self.runtimes)} with runner=bundle, expected one")
        require(self.result is None or self.runner == "bundle", f"result: got {self.result}; give runner=bundle with it")
        one_of("protocol", self.protocol, PROTOCOLS)
        if self.protocol == "survey":
            require(self.rounds is None, f"rounds: got {self.rounds} with protocol=survey, which has none; leave rounds away")
            require(self.runner == "local", f"runner: got {self.runner} with protocol=survey, expected local, or protocol=rounds")

    @property
    def writes_file(self) -> bool:
        """Whether `out` is a file: that of a bundle."""
        return self.runner == "bundle" and self.result is None

    @property
    def names(self) -> list[str]:
        """The networks, as they are given."""
        return list(self.networks) if isinstance(self.networks, list) else [self.networks]

    @property
    def runtimes(self) -> list[str]:
        """The runtimes, as they are given."""
        return list(self.runtime) if isinstance(self.runtime, list) else [self.runtime]
