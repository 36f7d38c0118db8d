"""A search space as another package brings it: the imports of this file are what such packages rely on, and stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from nas.errors import ConfigError
from nas.graph import Graph, NetworkBuilder, Value, map_spec
from nas.ops import OpSpec, out_size
from nas.ops.candidates import CANDIDATE_OPS, EdgeShape, candidate_specs
from nas.setting_checks import at_least, one_of, require
from nas.space import Choice, SearchSpace, SpaceEntry


@dataclass(kw_only=True, slots=True)
class OutsideConfig:
    """A chain of blocks."""

    name: str = "outside"
    """Name of the space."""
    blocks: int = 2
    """Number of blocks."""
    ops: list[str] = field(default_factory=lambda: ["skip_connect", "conv_3x3", "sep_conv_3x3", "none"])
    """Candidates of a block."""

    def __post_init__(self) -> None:
        """Check the values."""
        at_least("space.", self, {"blocks": 1})
        for name in self.ops:
            one_of("space.ops", name, tuple(CANDIDATE_OPS))
        require(len(set(self.ops)) == len(self.ops), f"space.ops: got {self.ops}, expected distinct operations")
        if not self.ops:
            raise ConfigError("space.ops: got none, expected at least one operation")


class Outside(SearchSpace):
    """stem -> blocks, each added to its input -> classifier."""

    config: OutsideConfig
    search_channels = deploy_channels = 4

    def choices(self) -> tuple[Choice, ...]:
        """One decision a block."""
        return tuple(Choice(f"block.{i}", tuple(self.config.ops), "blocks", i) for i in range(self.config.blocks))

    def describe(self, builder: NetworkBuilder, *, init_channels: int, num_classes: int) -> Graph:
        """The network."""
        image = builder.image()
        value = builder.op("stem", _stem(image, init_channels), image)
        for choice in self.choices():
            edge = EdgeShape(in_channels=value.channels, out_channels=value.channels, height=value.height, width=value.width)
            chosen = builder.choice(f"{choice.name}.op", candidate_specs(choice.options, edge), value, decision=choice.name)
            value = builder.add(f"{choice.name}.sum", [value, chosen])
        scores = builder.op("classifier", map_spec("classifier", value, value, num_classes), value)
        logits = builder.op("resize", map_spec("resize", scores, image, num_classes), scores, image)
        return builder.finish(logits=logits, labels=builder.op("argmax", map_spec("argmax", logits, logits, 1), logits))

    def random_choices(self, generator: torch.Generator) -> Mapping[str, str]:
        """Uniform."""
        return {c.name: c.options[int(torch.randint(len(c.options), (), generator=generator))] for c in self.choices()}


def _stem(image: Value, channels: int) -> OpSpec:
    return OpSpec(
        kind="conv_bn_relu",
        in_channels=image.channels,
        height=image.height,
        width=image.width,
        out_channels=channels,
        out_height=out_size(image.height, 2),
        out_width=out_size(image.width, 2),
        kernel=3,
        stride=2,
    )


ENTRY = SpaceEntry(OutsideConfig, Outside)
