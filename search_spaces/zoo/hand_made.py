"""What a file in `networks/` says of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nas.space.graph import Graph, Value
from search_spaces.zoo.layers import Layers

OfficialKeys = Mapping[str, tuple[str, ...]]
"""Our tensor -> the official tensors that it is made of; see `nas.space.capabilities.OfficialCheckpoints`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What a description ends in.

    Args:
        scores: Scores of the classes, at any size: [N, K, h, w].
        resize: Kind of the operation that brings them to the size of the images.
        auxiliary: Name -> scores of an auxiliary head, at any size, for training alone.
        unread: Values that the published code computes and throws away; weights that lead to them alone are held and never run.
    """

    scores: Value
    resize: str = "resize"
    auxiliary: Mapping[str, Value] = field(default_factory=dict)
    unread: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HandMade:
    """A hand-made network.

    Args:
        stem_channels: Channels of its first convolution.
        describe: Appends the network to its `Layers`.
        official_keys: Names in the checkpoints that its authors released; None: none, or not known.
        official_extras: Tensors of these checkpoints that are dropped.
        multiple: What height and width must be multiples of.
    """

    stem_channels: int
    describe: Callable[[Layers], Outputs]
    official_keys: Callable[[Graph], OfficialKeys] | None = None
    official_extras: Callable[[Graph], Mapping[str, str | None]] | None = None
    multiple: int = 1
