"""The jobs of `nas profile` and its sub-verbs: what is measured, where and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nas.config.checks import at_least, check_ssh, one_of, require
from nas.config.settings import DeploySettings, LatencySettings, SshSettings
from nas.devices.path_settings import expand_home, path_setting
from nas.devices.runtimes import RUNNERS


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
    """The search space's own config; with genotype= that of the genotype."""
    genotype: str | None = path_setting(None)
    """A genotype.yaml, a run or a published name: the operations of this one network; null: those of the whole space."""
    deploy: DeploySettings = field(default_factory=DeploySettings)
    """The shape to measure for; `deploy.input` is needed, but for a genotype, whose own holds where nothing is given."""
    num_classes: int | None = None
    """Classes of the deployed network; null: 11, or those of the genotype."""
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
