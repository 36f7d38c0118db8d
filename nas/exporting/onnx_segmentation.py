"""An ONNX file as a segmentation network: normalised images in, logits at the size of the images out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nas.config.onnx_settings import OnnxFileSettings
from nas.data.batches.transforms import MEAN, STD
from nas.data.classes.class_set import MAX_CLASSES
from nas.errors import ConfigError
from nas.exporting.checked_onnx import PROVIDER, OnnxSession, Port
from nas.exporting.onnx_metadata import OnnxMetadata, input_properties, read_metadata

FLOATS = {"float": np.float32, "float16": np.float16}
"""Types of images that a file may read, and of logits that it may make."""
INTEGERS = ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32")
"""Types of labels that a file may make."""
SETTINGS, METADATA, ASSUMED = "settings", "the file's metadata", "assumed"
"""Where it is known from how images are fed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """How images are fed: `(pixel * scale - mean) / std`, pixels being 0 to 255.

    Args:
        scale: Factor of the pixels.
        mean: Mean of each channel, in the order of `channels`.
        std: Standard deviation of each.
        channels: `rgb` or `bgr`.
        layout: `nchw` or `nhwc`, of the output, too.
        origins: Where each of these is known from.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: str
    layout: str
    origins: dict[str, str]

    @property
    def assumed(self) -> list[str]:
        """What nobody stated."""
        return [key for key, origin in self.origins.items() if origin == ASSUMED]

    def normalised(self, images: Tensor) -> Tensor:
        """Images as this file reads them, from those that our own networks read; both float32 [N, 3, H, W].

        Images have whole pixels from 0 to 255, so going back to them loses nothing.
        """
        ours = input_properties()
        if (self.scale, self.channels) == (1 / 255, "rgb") and [*self.mean, *self.std] == [*ours["input_mean"], *ours["input_std"]]:
            return images
        mean, std = (torch.from_numpy(np.asarray(one, dtype=np.float32)).reshape(3, 1, 1) for one in (MEAN, STD))
        pixels = ((images * std + mean) * 255).round()
        if self.channels == "bgr":
            pixels = pixels.flip(1)
        own_mean, own_std = (torch.tensor(one, dtype=torch.float32).reshape(3, 1, 1) for one in (self.mean, self.std))
        return (pixels * self.scale - own_mean) / own_std


def feed_of(settings: OnnxFileSettings, metadata: OnnxMetadata | None, file: object) -> Feed:
    """How the images of a file are fed, by its metadata or the settings; what neither states is assumed to be as in our files.

    Raises:
        ConfigError: If a setting contradicts the metadata.
    """
    ours = input_properties()
    assumed: dict[str, Any] = {
        "scale": 1 / 255,
        "mean": tuple(ours["input_mean"]) if metadata is None else metadata.mean,
        "std": tuple(ours["input_std"]) if metadata is None else metadata.std,
        "channels": "rgb",
        "layout": "nchw",
    }
    values, origins = dict(assumed), dict.fromkeys(assumed, ASSUMED if metadata is None else METADATA)
    for key in assumed:
        given = getattr(settings, key)
        if given is None:
            continue
        given = tuple(float(one) for one in given) if isinstance(given, list) else given
        if metadata is not None and given != assumed[key]:
            raise ConfigError(
                f"onnx_file.{key}: got {given}, and the metadata of {file} state {assumed[key]}; leave onnx_file.{key} away"
            )
        if metadata is None:
            values[key], origins[key] = given, SETTINGS
    return Feed(**values, origins=origins)


class OnnxSegmentation:
    """Images [N, 3, H, W] float32, normalised as for our networks -> logits [N, classes, H, W] float32 on the CPU.

    Logits of another size are resized bilinearly, with half-pixel centres; labels become logits that are 1 at the label and
    0 elsewhere.

    Args:
        file: The file.
        settings: What it does not say of itself.
        num_classes: Number of classes where the file does not state it; None: it has to.

    Raises:
        ConfigError: If it is no segmentation network that reads one image of three channels, or its classes are not known.
    """

    def __init__(self, file: OnnxSession, settings: OnnxFileSettings, *, num_classes: int | None = None) -> None:
        self._file = file
        self._where = f"onnx: {file.path}"
        self.metadata = read_metadata(file.properties, file.path)
        self.feed = feed_of(settings, self.metadata, file.path)
        self._input = self._checked_input(file.inputs)
        self._output = self._chosen_output(file.outputs, settings.output)
        self.gives_labels = self._output.dtype in INTEGERS
        self.class_names = self._class_names(settings)
        self.num_classes = self._num_classes(num_classes)
        self._resized_from: tuple[int, int] | None = None

    @property
    def fixed_size(self) -> tuple[int | None, int | None]:
        """(height, width) that the file reads in pixels, None where a side is free."""
        if self._input.shape is None:
            return None, None
        sides = self._input.shape
        return (sides[2], sides[3]) if self.feed.layout == "nchw" else (sides[1], sides[2])

    def require_size(self, size: tuple[int, int], key: str) -> None:
        """Refuse images of another size than the file reads, and run it once on a blank one of this size.

        Args:
            size: (height, width) of the images in pixels.
            key: The setting that decides it.

        Raises:
            ConfigError: With the size that fits, or with what is wrong with the output.
        """
        fits = tuple(side if fixed is None else fixed for side, fixed in zip(size, self.fixed_size, strict=True))
        if fits != tuple(size):
            raise ConfigError(
                f"{self._where}: reads images of {fits[0]}x{fits[1]}, got {size[0]}x{size[1]}; give {key}=[{fits[0]},{fits[1]}]"
            )
        self(torch.zeros(1, 3, *size))

    def __call__(self, images: Tensor) -> Tensor:
        """Logits of images, in batches of the size that the file takes."""
        n, _, height, width = images.shape
        fed = self.feed.normalised(images.cpu())
        if self.feed.layout == "nhwc":
            fed = fed.permute(0, 2, 3, 1)
        fixed = None if self._input.shape is None else self._input.shape[0]
        parts = [self._logits(part, (height, width), fill=fixed) for part in fed.split(fixed or n)]
        return torch.cat(parts).to(images.device)

    def facts(self) -> dict[str, Any]:
        """What a report says of the file: how images are fed, what it gives, what runs it."""
        feed = self.feed
        given: dict[str, Any] = {"name": self._output.name, "kind": "labels" if self.gives_labels else "logits"}
        return {
            "input": {
                "name": self._input.name,
                "shape": None if self._input.shape is None else list(self._input.shape),
                "scale": feed.scale,
                "mean": list(feed.mean),
                "std": list(feed.std),
                "channels": feed.channels,
                "layout": feed.layout,
                "known_from": feed.origins,
            },
            "output": {**given, "resized": None if self._resized_from is None else self.resizing()},
            "onnxruntime": self._file.version,
            "provider": PROVIDER,
        }

    def resizing(self) -> str | None:
        """How logits came to the size of the images; None: they had it."""
        if self._resized_from is None:
            return None
        return f"bilinearly, with half-pixel centres, from {self._resized_from[0]}x{self._resized_from[1]}"

    def _checked_input(self, inputs: list[Port]) -> Port:
        if len(inputs) != 1:
            raise ConfigError(f"{self._where}: got {len(inputs)} inputs ({_listed(inputs)}), expected one, the images")
        (port,) = inputs
        wanted, channel, other = ("[N,3,H,W]", 1, "nhwc") if self.feed.layout == "nchw" else ("[N,H,W,3]", 3, "nchw")
        shape = (None,) * 4 if port.shape is None else port.shape
        turned = len(shape) == 4 and shape[channel] != 3 and shape[4 - channel] == 3
        if turned or len(shape) != 4 or shape[channel] not in (3, None):
            remedy = f"; give onnx_file.layout={other}" if turned else ""
            raise ConfigError(f"{self._where}: got the input {port}, expected {wanted}{remedy}")
        if port.dtype not in FLOATS:
            raise ConfigError(f"{self._where}: got an input of {port.dtype}, expected float; export it with float images")
        return port

    def _chosen_output(self, outputs: list[Port], name: str | None) -> Port:
        chosen = [port for port in outputs if name in (port.name, None)]
        if name is not None and not chosen:
            raise ConfigError(
                f"onnx_file.output: got {name!r}, expected one of the outputs of {self._file.path}: {_listed(outputs)}"
            )
        if len(chosen) != 1:
            raise ConfigError(
                f"{self._where}: got {len(outputs)} outputs ({_listed(outputs)}), expected one; give onnx_file.output=NAME"
            )
        port = chosen[0]
        if port.dtype not in (*FLOATS, *INTEGERS):
            raise ConfigError(
                f"{self._where}: got the output {port} of {port.dtype}, expected logits of float or labels of whole numbers"
            )
        return port

    def _class_names(self, settings: OnnxFileSettings) -> tuple[str, ...] | None:
        stated = None if self.metadata is None else self.metadata.classes
        if settings.classes is None:
            return stated
        given = tuple(settings.classes)
        if stated is not None and given != stated:
            raise ConfigError(
                f"onnx_file.classes: got others than the metadata of {self._file.path} state; leave onnx_file.classes away"
            )
        return given

    def _num_classes(self, otherwise: int | None) -> int:
        """The number of classes by the shape of the logits, the metadata or the names, which must agree."""
        stated = {
            "the shape of its logits": self._channels(),
            "its metadata": None if self.metadata is None else self.metadata.num_classes,
            "onnx_file.classes": None if self.class_names is None else len(self.class_names),
        }
        found = {where: count for where, count in stated.items() if count is not None}
        if len(set(found.values())) > 1:
            raise ConfigError(
                f"{self._where}: got {' and '.join(f'{count} classes by {where}' for where, count in found.items())}, expected "
                "the same number"
            )
        count = next(iter(found.values()), otherwise)
        if count is None:
            raise ConfigError(f"{self._where}: does not state its classes; give onnx_file.classes=[NAME,...]")
        if count > MAX_CLASSES:
            raise ConfigError(f"{self._where}: got {count} classes, expected at most {MAX_CLASSES}")
        return count

    def _channels(self) -> int | None:
        shape = self._output.shape
        return None if self.gives_labels or shape is None or len(shape) != 4 else shape[1 if self.feed.layout == "nchw" else 3]

    def _logits(self, fed: Tensor, size: tuple[int, int], *, fill: int | None) -> Tensor:
        """Logits [n, classes, *size] of the images [n, ...] of one call, which is filled up to a number of images."""
        n = len(fed)
        if fill is not None and n < fill:
            fed = torch.cat([fed, fed[-1:].expand(fill - n, *fed.shape[1:])])
        array = np.ascontiguousarray(fed.numpy(), dtype=FLOATS[self._input.dtype])
        value = np.asarray(self._file.run(self._output.name, {self._input.name: array}))
        return (
            self._from_labels(value, size, len(array))[:n] if self.gives_labels else self._from_logits(value, size, len(array))[:n]
        )

    def _from_logits(self, value: NDArray[Any], size: tuple[int, int], n: int) -> Tensor:
        if self.feed.layout == "nhwc" and value.ndim == 4:
            value = value.transpose(0, 3, 1, 2)
        if value.ndim != 4 or value.shape[:2] != (n, self.num_classes) or 0 in value.shape:
            raise ConfigError(
                f"{self._where}: got an output of {_by(value.shape)}, expected logits of {n}x{self.num_classes}xHxW "
                "(images, classes, height, width)"
            )
        logits = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
        if value.shape[2:] == size:
            return logits
        self._resized_from = (value.shape[2], value.shape[3])
        return functional.interpolate(logits, size, mode="bilinear", align_corners=False)

    def _from_labels(self, value: NDArray[Any], size: tuple[int, int], n: int) -> Tensor:
        channel = 1 if self.feed.layout == "nchw" else 3
        if value.ndim == 4 and value.shape[channel] == 1:
            value = value.squeeze(channel)
        if value.shape != (n, *size):
            raise ConfigError(
                f"{self._where}: got labels of {_by(value.shape)} for images of {_by((n, *size))}, expected one for each pixel; "
                "export logits, which are resized"
            )
        strange = [int(one) for one in (value.min(), value.max()) if not 0 <= one < self.num_classes]
        if strange:
            raise ConfigError(f"{self._where}: got the label {strange[0]}, expected 0 to {self.num_classes - 1}")
        labels = torch.from_numpy(value.astype(np.int64))
        return functional.one_hot(labels, self.num_classes).permute(0, 3, 1, 2).float()


def _listed(ports: list[Port]) -> str:
    return ", ".join(map(str, ports[:8])) + (", ..." if len(ports) > 8 else "")


def _by(sides: tuple[int, ...]) -> str:
    """A shape in words.

    >>> _by((2, 48, 64)), _by(())
    ('2x48x64', 'one number')
    """
    return "x".join(map(str, sides)) or "one number"
