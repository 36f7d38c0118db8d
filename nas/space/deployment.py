"""Deployment of a network: the size of its images, its channels, its classes."""

from __future__ import annotations

from dataclasses import dataclass

from nas.errors import ConfigError
from nas.files.shortening import shorten

DEPLOYMENT_KEYS = ("input", "init_channels", "num_classes")
"""Keys of a deployment in files."""
_MAX_SIZE = 65_536


@dataclass(frozen=True, slots=True)
class Deployment:
    """Images, channels and classes that a network is built for.

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
        for name in DEPLOYMENT_KEYS[1:]:
            value = getattr(self, name)
            if not _is_size(value):
                raise ConfigError(f"deploy.{name}: got {shorten(value)}, expected a whole number from 1 to {_MAX_SIZE}")

    @property
    def input_size(self) -> tuple[int, int]:
        """`input` under the name by which the `plan` of spaces of other packages reads it."""
        return self.input


def _is_size(value: object) -> bool:
    return type(value) is int and 1 <= value <= _MAX_SIZE
