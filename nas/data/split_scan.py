"""The splits of a run before its first step: scanned, told and checked."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from nas.data.batches.held_out import Part
from nas.data.batches.transforms import SCALES, padding_share
from nas.data.dataset import SegmentationDataset
from nas.data.files.label_encoding import check_encodings
from nas.data.image_folder import ImageFolder
from nas.data.label_checks import check_labels, percent
from nas.data.scan_facts import ScanFacts
from nas.errors import DataError

log = logging.getLogger("nas")

MOST_PADDING = 0.5
"""Share of a crop above which padding is worth a warning [ours]."""


def scan_splits(
    train_set: SegmentationDataset,
    val_set: SegmentationDataset,
    *,
    crop: Sequence[int] | None,
    key: str,
    parts: tuple[Part, Part] | None = None,
) -> None:
    """Scan the splits of a search or a training, and say what they are.

    Args:
        train_set: Training split.
        val_set: Validation split.
        crop: Height and width of the crop in pixels; None: the size of the images.
        key: The setting that the crop is from.
        parts: What of the training split is left for the weights and what is held out for the architecture; None: it is one.

    Raises:
        DataError: If a file is broken, the labels of the two mean different things by what they store, or they cannot be learned
            from or measured against.
    """
    facts = [train_set.scan(), val_set.scan()]
    check_encodings([*facts[0].encodings, *facts[1].encodings])
    held = "" if parts is None else f" ({len(parts[1])} of them held out for the architecture)"
    same = train_set.size == val_set.size
    validated = f"val {len(val_set)}" if same else _counted(val_set)
    log.info("data: %s%s, %s", _counted(train_set), held, validated)
    _tell_passed_over(train_set, val_set)
    warnings = check_labels(train_set, facts[0], learns=True) + check_labels(val_set, facts[1], learns=False)
    _check_parts(parts or (), facts[0])
    for line in (*warnings, *_padding(train_set.size, crop, key)):
        log.warning("%s", line)


def scan_split(dataset: SegmentationDataset) -> None:
    """Scan a split to be evaluated, and say what it is.

    Raises:
        DataError: If a file is broken, or there is nothing to measure against.
    """
    facts = dataset.scan()
    log.info("data: %s", _counted(dataset))
    _tell_passed_over(dataset)
    for line in check_labels(dataset, facts, learns=False):
        log.warning("%s", line)


def scan_image_folders(train_set: ImageFolder, val_set: ImageFolder) -> None:
    """Scan the splits of a classification, and say what they are.

    Raises:
        DataError: If a file is broken.
    """
    train_set.scan()
    val_set.scan()
    log.info("data: train %d images, val %d, of %d classes", len(train_set), len(val_set), len(train_set.classes))
    _tell_passed_over(train_set, val_set)


def _counted(dataset: SegmentationDataset) -> str:
    count = len(dataset)
    return f"{dataset.split} {count} image{'' if count == 1 else 's'} of {dataset.size[0]}x{dataset.size[1]}"


def _tell_passed_over(*datasets: SegmentationDataset | ImageFolder) -> None:
    """Say what lies among the files and is not used; splits of one folder say it once."""
    texts: dict[str, list[str]] = {}
    for dataset in datasets:
        if dataset.passed_over:
            texts.setdefault(dataset.passed_over.text(), []).append(dataset.split)
    for text, splits in texts.items():
        log.info("data: %s: %s", " and ".join(splits), text)


def _check_parts(parts: Sequence[Part], facts: ScanFacts) -> None:
    """Refuse a part of the training split in which nothing is labelled.

    Raises:
        DataError: If there is one.
    """
    for part, purpose in zip(parts, ("left for the weights", "held out for the architecture"), strict=False):
        pixels = facts.part(part.indices).pixels
        if pixels is not None and not pixels.any():
            raise DataError(
                f"search.holdout: every pixel of the {len(part)} training labels {purpose} is void, expected pixels of classes; "
                "remove images whose labels are void throughout, or set another search.holdout or seed"
            )


def _padding(size: tuple[int, int], crop: Sequence[int] | None, key: str) -> list[str]:
    """A warning of batches that are mostly padding."""
    share = 0.0 if crop is None else padding_share(size, crop)
    if crop is None or share <= MOST_PADDING:
        return []
    return [
        f"{key}: got [{crop[0]},{crop[1]}] for images of {size[0]}x{size[1]}, which leaves {percent(share)} of a crop to padding "
        f"on average over the random scales {SCALES[0]:g} to {SCALES[1]:g}, expected at most {percent(MOST_PADDING)}; "
        f"set {key}=[{size[0]},{size[1]}] or smaller"
    ]
