"""Image files and their label files: matched by name, complete or refused."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.data.files.name_hints import NamedFiles, why_unmatched
from nas.data.files.passed_over import NOTHING, PassedOver
from nas.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Files that are taken for images."""


@dataclass(frozen=True, slots=True)
class FramePair:
    """An image file and its label file.

    Args:
        name: Name of the image, distinct within a split.
        image: Image file.
        label: Label file; None where there is none to read, and all pixels are void.
    """

    name: str
    image: Path
    label: Path | None


@dataclass(frozen=True, slots=True)
class FoundPairs:
    """The pairs of a split.

    Args:
        pairs: Sorted by name.
        passed_over: What lies among their files and is not used.
    """

    pairs: list[FramePair]
    passed_over: PassedOver = NOTHING


def by_key(paths: Iterable[Path], key: Callable[[Path], str]) -> dict[str, Path]:
    """The files by what identifies them, where letters count as the same however Unicode composes them.

    Raises:
        DataError: If two share a key.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = unicodedata.normalize("NFC", key(path))
        if name in found:
            raise DataError(f"{path}: same name as {found[name]}, expected one image a name; remove one")
        found[name] = path
    return found


def matched(
    images: NamedFiles, labels: NamedFiles, *, advice: Callable[[Sequence[str]], str | None] = lambda _: None
) -> list[tuple[str, Path, Path]]:
    """Key, image and label of every key, sorted.

    Args:
        images: All images.
        labels: All labels.
        advice: From the keys of images without labels to what to do about them, where more is known than the names.

    Raises:
        DataError: If an image or a label lacks its partner.
    """
    bare = sorted(images.files.keys() - labels.files.keys())
    lonely = sorted(labels.files.keys() - images.files.keys())
    if bare:
        why = advice(bare) or why_unmatched(images, labels, bare=bare, lonely=lonely) or "restore it or remove the image"
        wanted = f"{labels.folder / bare[0]}{labels.suffix}"
        raise DataError(f"{images.files[bare[0]]}: no label{more(bare)}, expected {wanted}; {why}")
    if lonely:
        raise DataError(
            f"{labels.files[lonely[0]]}: no image{more(lonely)}, expected {lonely[0]} in {images.folder};"
            " restore it or remove the label"
        )
    return [(key, images.files[key], labels.files[key]) for key in sorted(images.files)]


def more(things: Sequence[object]) -> str:
    """Number of further files that are affected."""
    return "" if len(things) == 1 else f" (nor {len(things) - 1} more)"


def passed_beside(found: Iterable[Mapping[str, str]], pairs: Iterable[FramePair]) -> PassedOver:
    """What walks passed over, without the files of the pairs: what is no image may be a mask, and the reverse.

    Args:
        found: Path -> reason, of each walk.
        pairs: The pairs.
    """
    passed = {path: reason for one in found for path, reason in one.items()}
    for pair in pairs:
        passed.pop(str(pair.image), None)
        passed.pop(str(pair.label), None)
    return PassedOver.of(passed)
