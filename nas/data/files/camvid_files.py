"""Paths of CamVid's images and labels, in either of its two layouts.

Folders: `ROOT/train/NAME.jpg` or `.png` with `ROOT/trainannot/NAME.png`, and so on for val and test. Lists: a file
`ROOT/train.txt` with an image path and a label path on each line; that of the SegNet copy, whose paths begin with a
folder of its authors, so that only their last two components count where a file is there. Where there is a list, it decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from nas.data.dataset import SPLITS
from nas.data.files.file_walk import find_files
from nas.data.files.list_lines import ExistingFiles, Line, listed_pairs, spellings
from nas.data.files.name_hints import NamedFiles
from nas.data.files.pairs import FoundPairs, FramePair, by_key, matched, passed_beside
from nas.data.files.shared_images import refuse_shared
from nas.errors import DataError

_SUFFIXES = (".jpg", ".jpeg", ".png")
_FORM = "'IMAGE LABEL'"


def find_pairs(root: Path, split: str) -> FoundPairs:
    """All pairs of a split, sorted by the name of the image.

    Raises:
        DataError: If the folder is not CamVid, the split is empty, an image or a label lacks its partner, or an image is in
            another split too.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; set data.root to CamVid's folder, which holds {_expected(split)}")
    found = _split_pairs(root, split)
    if found is None:
        raise DataError(f"{root}: not CamVid's folder, which holds {_expected(split)}; set data.root to that")
    others = {other: _images_of(root, other) for other in SPLITS if other != split}
    refuse_shared(split, [pair.image for pair in found.pairs], others, fix="remove it from one of them")
    return FoundPairs(sorted(found.pairs, key=lambda pair: pair.image.name), found.passed_over)


def _expected(split: str) -> str:
    """Pairs of a split, in either layout."""
    return f"{split}/ and {split}annot/ or the list {split}.txt"


def _split_pairs(root: Path, split: str) -> FoundPairs | None:
    """The pairs of a split that is there."""
    if (root / f"{split}.txt").is_file():
        return _listed(root, root / f"{split}.txt")
    return _folder_pairs(root / split, root / f"{split}annot") if (root / split).is_dir() else None


def _images_of(root: Path, split: str) -> list[Path]:
    """Images of another split; what is wrong with that one is told where it is read."""
    try:
        if (root / f"{split}.txt").is_file():
            return [pair.image for pair in _listed(root, root / f"{split}.txt").pairs]
        return find_files(root / split, _SUFFIXES).files if (root / split).is_dir() else []
    except DataError:
        return []


def _folder_pairs(images: Path, labels: Path) -> FoundPairs:
    """The pairs of equal stem in two folders."""
    if not labels.is_dir():
        raise DataError(f"{labels}: no such folder, expected the labels of {images} in it; restore it")
    found, found_labels = find_files(images, _SUFFIXES), find_files(labels, (".png",))
    if not found.files:
        raise DataError(f"{images}: no image in it, expected files {', '.join(_SUFFIXES)}; set data.root to another folder")
    pairs = matched(
        NamedFiles(by_key(found.files, lambda path: path.stem), images, ""),
        NamedFiles(by_key(found_labels.files, lambda path: path.stem), labels, ".png"),
    )
    frames = [FramePair(*pair) for pair in pairs]
    return FoundPairs(frames, passed_beside((found.passed, found_labels.passed), frames))


def _listed(root: Path, list_file: Path) -> FoundPairs:
    """The pairs of a list file, found again under the root."""
    file = partial(_file, root, ExistingFiles())

    def readings(line: Line) -> Iterator[FramePair]:
        for half in line.halves():
            image, label = map(file, half)
            if image is not None and label is not None:
                yield FramePair(image.stem, image, label)

    def fault(line: Line) -> str:
        if len(line.fields) != 2:
            return f"{line.where}: got {len(line.fields)} fields, expected {_FORM}; correct the line"
        missing = next((field for field in line.fields if file(field) is None), line.fields[0])
        return f"{_places(root, missing)[0]}: no such file, but {line.where} lists it; restore it or remove the line"

    found = listed_pairs(list_file, form=_FORM, readings=readings, fault=fault)
    by_key([pair.image for pair in found.pairs], lambda path: path.stem)
    return found


def _file(root: Path, existing: ExistingFiles, field: str) -> Path | None:
    """The file of a path."""
    return existing.first([place for text in spellings(field) for place in _places(root, text)])


def _places(root: Path, field: str) -> list[Path]:
    """Where a path may lead: below the root by its last two components, or as it stands."""
    return [root.joinpath(*PurePosixPath(field).parts[-2:]), root / field]
