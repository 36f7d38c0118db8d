"""Image files and their label files: found in folders, matched by name, complete or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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


def visible_files(folder: Path, suffixes: Sequence[str], *, deep: bool = False) -> list[Path]:
    """Files whose names end with one of the suffixes in any case, sorted, without hidden ones.

    Args:
        folder: Where to look.
        suffixes: Ends of names, lower case.
        deep: Also in folders below, hidden ones left out.
    """
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        path
        for path in found
        if path.name.lower().endswith(tuple(suffixes))
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def by_key(paths: Iterable[Path], key: Callable[[Path], str]) -> dict[str, Path]:
    """The files by what identifies them.

    Raises:
        DataError: If two share a key.
    """
    found: dict[str, Path] = {}
    for path in paths:
        name = key(path)
        if name in found:
            raise DataError(f"{path}: same name as {found[name]}, expected one image a name; remove one")
        found[name] = path
    return found


def matched(
    images: Mapping[str, Path], labels: Mapping[str, Path], *, labels_in: Path, suffix: str
) -> list[tuple[str, Path, Path]]:
    """Key, image and label of every key, sorted.

    Args:
        images: Key -> image.
        labels: Key -> label.
        labels_in: Folder of the labels, below which a key lies.
        suffix: How the name of a label goes on after its key.

    Raises:
        DataError: If an image or a label lacks its partner.
    """
    bare = sorted(images.keys() - labels.keys())
    if bare:
        raise DataError(
            f"{images[bare[0]]}: no label{more(bare)}, expected {labels_in / bare[0]}{suffix}; restore it or remove the image"
        )
    lonely = sorted(labels.keys() - images.keys())
    if lonely:
        folder = next(iter(images.values())).parent
        raise DataError(
            f"{labels[lonely[0]]}: no image{more(lonely)}, expected {lonely[0]} in {folder}; restore it or remove the label"
        )
    return [(key, images[key], labels[key]) for key in sorted(images)]


def read_lines(list_file: Path, *, form: str) -> list[tuple[int, list[str]]]:
    """Number and fields of each line of a list that is not blank.

    Raises:
        DataError: If it cannot be read, or has no such line.
    """
    try:
        lines = list_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{list_file}: unreadable ({error}), expected lines {form}; restore it") from error
    found = [(number, line.split()) for number, line in enumerate(lines, start=1) if line.split()]
    if not found:
        raise DataError(f"{list_file}: lists no image, expected lines {form}; restore it or remove the file")
    return found


def more(things: Sequence[object]) -> str:
    """Number of further files that are affected."""
    return "" if len(things) == 1 else f" (nor {len(things) - 1} more)"
