"""The settings of `nas bench search`."""

from __future__ import annotations

from dataclasses import dataclass, field

from nas.config.checks import at_least, one_of, require
from nas.config.settings import EXECUTION_NAMES, RELAXATION_NAMES
from nas.devices.path_settings import expand_home, path_setting
from nas.files.value_text import value_text


@dataclass(kw_only=True, slots=True)
class PeerSettings:
    """Checkouts of official repositories on this machine; giving one runs its code, in a process of its own."""

    squeezenas: str | None = path_setting(None)
    """Folder of a checkout of the official SqueezeNAS repository; its small supernet is timed beside squeezenas_small."""

    def __post_init__(self) -> None:
        """Complete the paths."""
        expand_home("peer.", self)


@dataclass(kw_only=True, slots=True)
class BenchSearchJob:
    """`nas bench search`."""

    spaces: list[str] = field(default_factory=lambda: ["lgcnet", "squeezenas_small", "fasterseg"])
    """Search spaces to measure, each as its own settings have it, but for `fasterseg_layers`."""
    shapes: list[str] | None = None
    """Shapes to measure each space at, HEIGHTxWIDTHxBATCH; null: three of each space's own, an odd one among them."""
    relaxations: list[str] = field(default_factory=lambda: list(RELAXATION_NAMES))
    """Some of soft, hard and sampled."""
    executions: list[str] = field(default_factory=lambda: list(EXECUTION_NAMES))
    """Some of reference and fused."""
    rounds: int = 10
    """Most rounds at each shape; in a round each variant takes one step."""
    seconds: float = 15.0
    """No further round is begun at a shape after this time, once it has three."""
    threads: int = 1
    """CPU threads of PyTorch."""
    seed: int = 0
    """Seed of weights, batches, noise and the order within a round."""
    fasterseg_layers: int = 3
    """Layers of FasterSeg's lattice. The official one has 16: 3 to 5 GB a process, of which six are alive, and 7 to 20 s a step."""
    peer: PeerSettings = field(default_factory=PeerSettings)
    """Official checkouts to time in the same run."""
    out: str | None = path_setting(None)
    """File to write; null: experiments/bench/DEVICE-TIME.json under the working folder."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("", self)
        for key, known in (("relaxations", RELAXATION_NAMES), ("executions", EXECUTION_NAMES)):
            for value in getattr(self, key):
                one_of(key, value, known)
        for key in ("spaces", "shapes", "relaxations", "executions"):
            values = getattr(self, key)
            good = values is None or (len(values) >= 1 and len(set(values)) == len(values))
            require(good, f"{key}: got {value_text(values)}, expected one or more, each once")
        at_least("", self, {"rounds": 1, "seconds": 0, "threads": 1, "seed": 0, "fasterseg_layers": 3})
