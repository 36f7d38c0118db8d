"""Settings for ONNX files that others made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nas.config.checks import one_of, require
from nas.files.value_text import value_text

CHANNEL_ORDERS = ("rgb", "bgr")
LAYOUTS = ("nchw", "nhwc")


@dataclass(kw_only=True, slots=True)
class OnnxFileSettings:
    """What an ONNX file does not say of itself; files of `nas export` say all of it in their metadata.

    A file reads `(pixel * scale - mean) / std`, pixels being 0 to 255.
    """

    scale: float | None = None
    """Factor of the pixels; null: 1/255."""
    mean: list[float] | None = None
    """What is subtracted from each channel after scaling, in the order of `channels`; null: ImageNet's, as for our own networks."""
    std: list[float] | None = None
    """What each channel is divided by after that, in the order of `channels`; null: ImageNet's, as for our own networks."""
    channels: str | None = None
    """rgb or bgr; null: rgb."""
    layout: str | None = None
    """nchw, or nhwc: input and output have the channels last; null: nchw."""
    output: str | None = None
    """Name of the output with the logits or labels; null: the only one."""
    classes: list[str] | None = None
    """Names of the classes, in the order of the logits; null: those of the metadata, else of data=NAME, else numbers."""

    def __post_init__(self) -> None:
        """Check the values."""
        scale = self.scale
        require(
            scale is None or (math.isfinite(scale) and scale > 0),
            f"onnx_file.scale: got {scale}, expected a number above 0, e.g. 1",
        )
        for key, least in (("mean", -math.inf), ("std", 0.0)):
            values = getattr(self, key)
            good = values is None or (len(values) == 3 and all(math.isfinite(one) and one > least for one in values))
            wanted = "3 numbers above 0" if key == "std" else "3 numbers"
            require(good, f"onnx_file.{key}: got {value_text(values)}, expected {wanted}, one for each channel")
        for key, allowed in (("channels", CHANNEL_ORDERS), ("layout", LAYOUTS)):
            one_of(f"onnx_file.{key}", getattr(self, key) or allowed[0], allowed)
        names = self.classes
        require(
            names is None or len(set(names)) == len(names) >= 2,
            f"onnx_file.classes: got {value_text(names)}, expected at least 2 different names",
        )
