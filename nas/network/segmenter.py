"""What an evaluation runs: a trained network, or an ONNX file, as one function from images to logits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.config.onnx_settings import OnnxFileSettings
from nas.data.classes.class_set import class_set, distinct_colours
from nas.errors import ConfigError
from nas.exporting.checked_onnx import open_onnx
from nas.exporting.onnx_segmentation import OnnxSegmentation
from nas.files.value_text import value_text
from nas.network.trained_network import trained_network
from nas.runs.known_classes import KnownClasses, known_classes
from nas.space.design import Design

log = logging.getLogger("nas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmenter:
    """A segmentation network, wherever it comes from.

    Args:
        forward: Images [N, 3, H, W] float32, normalised as ours -> logits [N, classes, H, W] on their device.
        file: The file of its weights, or of all of it.
        num_classes: Number of its classes.
        known: What is known of them.
        design: Its architecture; None: an ONNX file is all that there is.
        onnx: The ONNX file; None: it is a network of PyTorch.
    """

    forward: Callable[[Tensor], Tensor]
    file: Path
    num_classes: int
    known: KnownClasses
    design: Design | None = None
    onnx: OnnxSegmentation | None = None

    def require_size(self, size: tuple[int, int], key: str) -> None:
        """Refuse images of a size (height, width) that it cannot read; `key` is the setting that decides it.

        Raises:
            ConfigError: With the size that fits.
        """
        if self.design is not None:
            self.design.require_size(size, key)
        if self.onnx is not None:
            self.onnx.require_size(size, key)

    def own_size(self) -> tuple[int, int]:
        """(height, width) of the images that it is made for.

        Raises:
            ConfigError: If it reads any.
        """
        if self.design is not None:
            return self.design.genotype.deploy.input
        height, width = (None, None) if self.onnx is None else self.onnx.fixed_size
        if height is None or width is None:
            raise ConfigError(f"images_size: missing, and {self.file} reads images of any size; give images_size=[HEIGHT,WIDTH]")
        return height, width

    def facts(self) -> dict[str, Any]:
        """What a report says of it, beside its file and its classes."""
        found: dict[str, Any] = {} if self.design is None else {"genotype_space": self.design.genotype.space}
        return found if self.onnx is None else {**found, "onnx": self.onnx.facts()}

    def notes(self) -> list[str]:
        """What people should know of how its logits came about."""
        how = None if self.onnx is None else self.onnx.resizing()
        return [] if how is None else [f"logits resized {how} to the size of the images"]


def trained_segmenter(design: Design, weights: Path, device: torch.device) -> Segmenter:
    """A trained network on its device; its weights decide the number of classes.

    Raises:
        CheckpointError: If the weights are not those of the network.
    """
    network, num_classes = trained_network(design, weights)
    known = known_classes(design.genotype, weights, num_classes)
    return Segmenter(forward=network.to(device), file=weights, num_classes=num_classes, known=known, design=design)


def onnx_segmenter(path: Path, settings: OnnxFileSettings, num_classes: int | None) -> Segmenter:
    """An ONNX file, which ONNX Runtime runs on the CPU.

    Args:
        path: The file.
        settings: What it does not say of itself.
        num_classes: Number of classes where it does not state that; None: it has to.

    Raises:
        ConfigError: If the file is broken, or no segmentation network that one can feed with images.
        OSError: If it cannot be read.
    """
    onnx = OnnxSegmentation(open_onnx(path, threads=torch.get_num_threads()), settings, num_classes=num_classes)
    assumed = [f"{key}={value_text(getattr(onnx.feed, key))}" for key in onnx.feed.assumed]
    if assumed:
        log.warning(
            "onnx: %s does not say how images are fed; assumed, as for our own networks: %s; onnx_file.KEY=VALUE states another",
            path,
            ", ".join(assumed),
        )
    return Segmenter(forward=onnx, file=path, num_classes=onnx.num_classes, known=_known(onnx, settings, path), onnx=onnx)


def _known(onnx: OnnxSegmentation, settings: OnnxFileSettings, path: Path) -> KnownClasses:
    names = onnx.class_names
    if names is None:
        return KnownClasses(None, f"numbered, for {path} states no names; onnx_file.classes=[NAME,...] gives them")
    origin = f"the metadata of {path}" if settings.classes is None else "onnx_file.classes"
    return KnownClasses(class_set(names, distinct_colours(len(names))), origin, sure=True)
