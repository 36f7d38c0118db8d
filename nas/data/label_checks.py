"""Whether the labels of a split can be learned from or measured against; what else comes of them are numbers without sense."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.data.dataset import IGNORE_INDEX, SegmentationDataset
from nas.data.scan_facts import ScanFacts
from nas.errors import DataError

MOST_VOID = 0.5
"""Share of void pixels above which a split is worth a warning [ours]."""
_SHOWN = 6
"""Classes whose shares a message lists."""


def check_labels(dataset: SegmentationDataset, facts: ScanFacts, *, learns: bool) -> list[str]:
    """Refuse labels that give no meaningful number, and warn of those that give less than is expected of them.

    Args:
        dataset: The split.
        facts: What its scan saw.
        learns: Whether it is trained on; else it is measured against.

    Returns:
        Warnings, a line each. None where labels were not counted.

    Raises:
        DataError: If all pixels are void, or a split to be trained on has pixels of one class alone.
    """
    pixels, void = facts.pixels, facts.void
    if pixels is None or void is None:
        return []
    total = int(pixels.sum()) + void
    if total == void:
        raise DataError(_all_void(dataset, facts.images, learns=learns))
    present = [name for name, count in zip(dataset.classes, pixels.tolist(), strict=True) if count]
    if learns and len(present) == 1:
        raise DataError(_one_class(dataset, present[0], void / total))
    return [*_void_warnings(dataset, facts, void / total), *_missing_warnings(dataset, pixels, void, learns=learns)]


def _all_void(dataset: SegmentationDataset, images: int, *, learns: bool) -> str:
    ids = _void_ids(dataset)
    which = f" ({'id' if len(ids) == 1 else 'ids'} {_listed([str(one) for one in ids])})" if ids else ""
    unlabelled = "" if learns else ", or draw predictions of images without labels with images=FOLDER"
    return (
        f"data: every pixel of the {images} labels of the {dataset.split} split is void{which}, expected pixels of classes; "
        f"{_remedy(dataset)}{unlabelled}"
    )


def _one_class(dataset: SegmentationDataset, name: str, void: float) -> str:
    got = f"data: the labels of the {dataset.split} split have pixels of {name} alone ({percent(1 - void)}, void {percent(void)})"
    return f"{got}, expected pixels of at least two classes; {_void_as_class(dataset, name) if void else _remedy(dataset)}"


def _void_as_class(dataset: SegmentationDataset, name: str) -> str:
    """What to do where void may be meant as a class: masks of 0 and 255 are the usual case."""
    others = [other for other in dataset.classes if other != name]
    if _void_ids(dataset) != [IGNORE_INDEX] or dataset.ids is None or dataset.classes_file is None:
        return _remedy(dataset)
    if len(others) > 1:
        return f"id 255 is void: if it stands for a class, give that class id: 255 in {dataset.classes_file}, or correct the masks"
    own = [stored for stored, index in dataset.ids.items() if index == dataset.classes.index(name)]
    lines = {name: f"id: {own[0]}" if len(own) == 1 else f"ids: {own}", others[0]: "id: 255"}
    entries = ", ".join(f"{{name: {json.dumps(one, ensure_ascii=False)}, {lines[one]}}}" for one in dataset.classes)
    return (
        f"id 255 is void: if it stands for {others[0]}, write classes: [{entries}] in {dataset.classes_file}, and leave 255 out of "
        "ignore"
    )


def _void_warnings(dataset: SegmentationDataset, facts: ScanFacts, share: float) -> list[str]:
    assert facts.counts is not None
    empty = int((facts.counts[:, :-1].sum(axis=1) == 0).sum())
    lines = []
    if share > MOST_VOID:
        lines.append(
            f"data: {percent(share)} of the label pixels of the {dataset.split} split are void and count for nothing, expected at "
            f"most {percent(MOST_VOID)}; if they should count, {_remedy(dataset)}"
        )
    if empty:
        lines.append(
            f"data: {empty} of the {facts.images} labels of the {dataset.split} split {'is' if empty == 1 else 'are'} void "
            f"throughout: no pixel of such an image counts; remove their images, or {_remedy(dataset)}"
        )
    return lines


def _missing_warnings(dataset: SegmentationDataset, pixels: NDArray[np.int64], void: int, *, learns: bool) -> list[str]:
    missing = [name for name, count in zip(dataset.classes, pixels.tolist(), strict=True) if not count]
    if not missing:
        return []
    effect = "nothing teaches the network this" if learns else "its IoU is null, and mIoU leaves it out"
    if len(missing) > 1:
        effect = "nothing teaches the network these" if learns else "their IoU is null, and mIoU leaves them out"
    if len(missing) == len(dataset.classes) - 1:
        (name,) = set(dataset.classes) - set(missing)
        effect = f"mIoU is that of {name} alone"
        hint = f"; {_void_as_class(dataset, name)}" if void else ""
    else:
        hint = ""
    return [
        f"data: no pixel of {_listed(missing)} in the labels of the {dataset.split} split: {effect}; the labelled pixels are "
        f"{_shares(dataset.classes, pixels)}{hint}"
    ]


def _shares(names: Sequence[str], pixels: NDArray[np.int64]) -> str:
    """Shares of the classes that have pixels, the largest first.

    >>> _shares(["sky", "road", "car"], np.array([1, 3, 0]))
    'road 75 %, sky 25 %'
    """
    order = [index for index in np.argsort(-pixels, kind="stable").tolist() if pixels[index]]
    return _listed([f"{names[index]} {percent(pixels[index] / pixels.sum())}" for index in order])


def _listed(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return ", ".join(parts[:_SHOWN]) + more


def percent(share: float) -> str:
    """A share in words, never rounded to none or to all.

    >>> percent(0.5), percent(0.0042), percent(0.99999), percent(1e-9), percent(1.0)
    ('50 %', '0.42 %', '>99.9 %', '<0.01 %', '100 %')
    """
    if 0 < share < 1e-4:
        return "<0.01 %"
    return ">99.9 %" if 0.999 < share < 1 else f"{100 * share:.{2 if share < 0.1 else 3}g} %"


def _void_ids(dataset: SegmentationDataset) -> list[int]:
    return sorted(stored for stored, index in (dataset.ids or {}).items() if index == IGNORE_INDEX)


def _remedy(dataset: SegmentationDataset) -> str:
    if dataset.classes_file is None:
        return "correct the labels, or choose others"
    return f"correct the masks, or what {dataset.classes_file} states"
