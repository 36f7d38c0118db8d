"""What a file of `nas export` says of itself: how images are fed and what its classes are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.data.batches.transforms import MEAN, STD
from nas.errors import ConfigError
from nas.files.shortening import shorten
from nas.files.strict_json import as_count, as_list, as_number, as_texts, parse_strict

LAYOUT = "NCHW, RGB"
NORMALISATION = "(image / 255 - input_mean) / input_std"
"""The one normalisation of our files; the key `input_normalisation` marks a file as one of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxMetadata:
    """The metadata of a file of ours.

    Args:
        mean: Mean of each channel, red first, of pixels from 0 to 1.
        std: Standard deviation of each.
        num_classes: Number of classes.
        classes: Their names; None: they were not known.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int
    classes: tuple[str, ...] | None


def input_properties() -> dict[str, Any]:
    """What a file states of its input."""
    return {
        "input_layout": LAYOUT,
        "input_normalisation": NORMALISATION,
        "input_mean": [round(float(value), 6) for value in MEAN],
        "input_std": [round(float(value), 6) for value in STD],
    }


def read_metadata(properties: Mapping[str, str], file: object) -> OnnxMetadata | None:
    """The metadata in the properties of a file; None: it is none of ours.

    Raises:
        ConfigError: If it says that it is one of ours, and states something that ours do not.
    """
    if "input_normalisation" not in properties:
        return None
    try:
        for key, expected in (("input_layout", LAYOUT), ("input_normalisation", NORMALISATION)):
            if properties.get(key) != expected:
                raise ValueError(f"{key}: got {shorten(properties.get(key))}, expected {expected!r}")
        mean, std = _numbers(properties, "input_mean"), _numbers(properties, "input_std")
        if min(std) <= 0:
            raise ValueError(f"input_std: got {list(std)}, expected numbers above 0")
        num_classes = as_count(parse_strict(properties.get("num_classes", "null")), "num_classes", minimum=1)
        classes = None if "classes" not in properties else as_texts(parse_strict(properties["classes"]), "classes")
        if classes is not None and not len(set(classes)) == len(classes) == num_classes:
            raise ValueError(f"classes: got {len(set(classes))} different names, expected {num_classes} as in num_classes")
    except ValueError as error:
        raise ConfigError(f"onnx: {file}: metadata: {' '.join(str(error).split())}; export the network again") from error
    return OnnxMetadata(mean=mean, std=std, num_classes=num_classes, classes=classes)


def _numbers(properties: Mapping[str, str], key: str) -> tuple[float, ...]:
    """A number for each channel; raises `ValueError`."""
    numbers = [as_number(one, key) for one in as_list(parse_strict(properties.get(key, "null")), key)]
    if len(numbers) != 3:
        raise ValueError(f"{key}: got {shorten(numbers)}, expected 3 numbers")
    return tuple(numbers)
