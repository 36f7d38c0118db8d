"""Settings of the SqueezeNAS spaces; defaults are those of the official code (ashaw596/squeezenas, commit bdb2798)."""

from __future__ import annotations

from dataclasses import dataclass, field

from nas.config.checks import at_least, one_of, require
from nas.files.value_text import value_text

SKIP = "skip"
"""The choice without an inverted residual."""

FILTERS: dict[str, tuple[int, int, int, int]] = {
    "k3_e1_g1": (3, 1, 1, 1),
    "k3_e1_g2": (3, 1, 2, 1),
    "k3_e3_g1": (3, 3, 1, 1),
    "k3_e6_g1": (3, 6, 1, 1),
    "k5_e1_g1": (5, 1, 1, 1),
    "k5_e1_g2": (5, 1, 2, 1),
    "k5_e3_g1": (5, 3, 1, 1),
    "k5_e6_g1": (5, 6, 1, 1),
    "k3_e1_g1_d2": (3, 1, 1, 2),
    "k3_e1_g2_d2": (3, 1, 2, 2),
    "k3_e3_g1_d2": (3, 3, 1, 2),
    "k3_e6_g1_d2": (3, 6, 1, 2),
}
"""Inverted residuals: name -> kernel, expansion, groups, dilation."""

OPS = (*FILTERS, SKIP)
"""The choices of a block, in the order of the logits."""

DECODERS = ("lr_aspp", "aspp")


@dataclass(kw_only=True, slots=True)
class SqueezeNASSmallConfig:
    """SqueezeNAS's small search space."""

    name: str = "squeezenas_small"
    """Name of the space."""
    ops: list[str] = field(default_factory=lambda: list(OPS))
    """Choices of a block (official: 13); leave out what the target's runtime lacks."""
    stem_channels: int = 16
    """Channels of the stem: what search.init_channels and deploy.init_channels are unless they are given."""
    stages: list[list[int]] = field(default_factory=lambda: [[16, 4, 2], [24, 4, 2], [40, 4, 2], [48, 4, 1], [96, 4, 1]])
    """[channels, blocks, stride of the first block] of each stage."""
    width: float = 1.0
    """Factor of the channels of all stages, rounded; neither the stem's nor the decoder's."""
    last_channels: int | None = 256
    """Channels of a 1x1 convolution after the last stage; null: there is none."""
    low_level_block: int = 7
    """Block whose output is the decoder's low-level feature."""
    decoder: str = "lr_aspp"
    """lr_aspp or aspp; the channels that aspp reads are a multiple of decoder_channels."""
    decoder_channels: int = 128
    """Channels inside the decoder."""
    pool_kernel: int = 49
    """Side of the windows over which the gate of lr_aspp averages, in pixels of the encoder's output."""
    pool_strides: list[int] = field(default_factory=lambda: [16, 20])
    """[vertical, horizontal] stride of these windows."""
    clamp_pool: bool = True
    """Cut the windows to the map where it is smaller [reading]: the official decoder fails below 784 pixels a side, and is the same
    above. false: refuse such sizes."""
    aspp_rates: list[int] = field(default_factory=lambda: [6, 12, 18])
    """Dilations of aspp."""

    def __post_init__(self) -> None:
        """Check what the settings say of each other."""
        one_of("space.decoder", self.decoder, DECODERS)
        unknown = [name for name in self.ops if name not in OPS]
        require(not unknown, f"space.ops: got unknown {value_text(unknown)}, expected some of {', '.join(OPS)}")
        require(
            len(set(self.ops)) == len(self.ops) >= 1,
            f"space.ops: got {value_text(self.ops)}, expected distinct choices, at least one",
        )
        least = {"stem_channels": 1, "last_channels": 1, "decoder_channels": 1, "pool_kernel": 1, "low_level_block": 0}
        at_least("space.", self, least)
        require(0 < self.width < float("inf"), f"space.width: got {self.width}, expected a factor above 0")
        self._check_stages()
        for key, count in (("pool_strides", 2), ("aspp_rates", len(self.aspp_rates))):
            values = getattr(self, key)
            good = len(values) == count >= 1 and min(values) >= 1
            require(good, f"space.{key}: got {value_text(values)}, expected {count or 'at least one'} numbers from 1")
        features = self.encoder_channels()
        require(
            self.decoder != "aspp" or features % self.decoder_channels == 0,
            f"space.decoder_channels: got {self.decoder_channels} under {features} channels of the encoder, expected a divisor "
            "with space.decoder=aspp; change it, or take space.decoder=lr_aspp",
        )

    def channels_of(self, stage: int) -> int:
        """Channels of a stage at this width."""
        return round(self.stages[stage][0] * self.width)

    def encoder_channels(self) -> int:
        """Channels that the decoder reads."""
        return self.last_channels or self.channels_of(len(self.stages) - 1)

    def _check_stages(self) -> None:
        for stage in self.stages:
            good = len(stage) == 3 and min(stage) >= 1 and stage[2] <= 2
            require(good, f"space.stages: got {value_text(stage)}, expected [channels, blocks, stride], stride 1 or 2")
        require(len(self.stages) >= 1, "space.stages: got none, expected at least one [channels, blocks, stride]")
        blocks = sum(stage[1] for stage in self.stages)
        require(
            self.low_level_block < blocks,
            f"space.low_level_block: got {self.low_level_block}, expected a number below the {blocks} blocks in space.stages",
        )
        widths = [self.channels_of(i) for i in range(len(self.stages))]
        groups = max(FILTERS[name][2] for name in self.ops if name != SKIP) if set(self.ops) != {SKIP} else 1
        require(
            all(width >= 1 and width % groups == 0 for width in widths),
            f"space.stages, space.width: got stages of {value_text(widths)} channels, expected multiples of {groups}, "
            "the groups of a choice",
        )


@dataclass(kw_only=True, slots=True)
class SqueezeNASLargeConfig(SqueezeNASSmallConfig):
    """SqueezeNAS's large search space."""

    name: str = "squeezenas_large"
    """Name of the space."""
    stages: list[list[int]] = field(
        default_factory=lambda: [[16, 1, 1], [24, 4, 2], [32, 4, 2], [64, 4, 2], [96, 4, 1], [160, 4, 1], [160, 1, 1]]
    )
    """[channels, blocks, stride of the first block] of each stage."""
    last_channels: int | None = None
    """Channels of a 1x1 convolution after the last stage; null: there is none."""
    low_level_block: int = 8
    """Block whose output is the decoder's low-level feature."""


@dataclass(kw_only=True, slots=True)
class SqueezeNASXLargeConfig(SqueezeNASSmallConfig):
    """SqueezeNAS's extra large search space."""

    name: str = "squeezenas_xlarge"
    """Name of the space."""
    stem_channels: int = 48
    """Channels of the stem: what search.init_channels and deploy.init_channels are unless they are given."""
    stages: list[list[int]] = field(
        default_factory=lambda: [[24, 1, 1], [32, 4, 2], [48, 4, 2], [96, 4, 2], [144, 4, 1], [240, 4, 1], [320, 1, 1]]
    )
    """[channels, blocks, stride of the first block] of each stage."""
    last_channels: int | None = None
    """Channels of a 1x1 convolution after the last stage; null: there is none."""
    low_level_block: int = 4
    """Block whose output is the decoder's low-level feature."""
    decoder: str = "aspp"
    """lr_aspp or aspp; the channels that aspp reads are a multiple of decoder_channels."""
    decoder_channels: int = 160
    """Channels inside the decoder."""
