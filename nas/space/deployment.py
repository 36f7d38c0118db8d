"""The shape of a deployed network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.errors import ConfigError
from nas.files.shortening import shorten

if TYPE_CHECKING:
    pass


_DEPLOY_FIELDS = ("input", "init_channels", "num_classes")


_MAX_SIZE = 65_536


@dataclass(frozen=True, slots=True)
class Deploy:
    """The shape in which a network is deployed.

    Args:
        input: (height, width) of the images in pixels.
        init_channels: Channels of the stem.
        num_classes: Classes.
    """

    input: tuple[int, int]
    init_channels: int
    num_classes: int

    def __post_init__(self) -> None:
        """Check the values."""
        if not isinstance(self.input, tuple | list) or len(self.input) != 2 or not all(map(_is_size, self.input)):
            raise ConfigError(
                f"deploy.input: got {shorten(self.input)}, expected [HEIGHT, WIDTH] in pixels, both from 1 to {_MAX_SIZE}"
            )
        object.__setattr__(self, "input", tuple(self.input))
        for name in _DEPLOY_FIELDS[1:]:
            value = getattr(self, name)
            if not _is_size(value):
                raise ConfigError(f"deploy.{name}: got {shorten(value)}, expected a whole number from 1 to {_MAX_SIZE}")


def _is_size(value: object) -> bool:
    return type(value) is int and 1 <= value <= _MAX_SIZE


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a network.

    Args:
        input_size: (height, width) of the images in pixels.
        init_channels: Initial channels.
        num_classes: Classes.
    """

    input_size: tuple[int, int]
    init_channels: int
    num_classes: int
