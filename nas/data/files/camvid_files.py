"""Paths of CamVid's images and labels, in either of its two layouts.

Folders: `ROOT/train/NAME.jpg` or `.png` with `ROOT/trainannot/NAME.png`, and so on for val and test. Lists: a file
`ROOT/train.txt` with an image path and a label path on each line; that of the SegNet copy, whose paths begin with a
folder of its authors, so that only their last two components count. Where there is a list, it decides.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from nas.data.files.pairs import FramePair, by_key, matched, read_lines, visible_files
from nas.errors import DataError

_SUFFIXES = (".jpg", ".jpeg", ".png")


def find_pairs(root: Path, split: str) -> list[FramePair]:
    """All pairs of a split, sorted by the name of the image.

    Raises:
        DataError: If the folder is not CamVid, the split is empty, or an image or a label lacks its partner.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; set data.root to CamVid's folder, which holds {_expected(split)}")
    if (root / f"{split}.txt").is_file():
        pairs = _listed_pairs(root, root / f"{split}.txt")
    elif (root / split).is_dir():
        pairs = _folder_pairs(root / split, root / f"{split}annot")
    else:
        raise DataError(f"{root}: not CamVid's folder, which holds {_expected(split)}; set data.root to that")
    return sorted(pairs, key=lambda pair: pair.image.name)


def _expected(split: str) -> str:
    """Pairs of a split, in either layout."""
    return f"{split}/ and {split}annot/ or the list {split}.txt"


def _folder_pairs(images: Path, labels: Path) -> list[FramePair]:
    """The pairs of equal stem in two folders."""
    if not labels.is_dir():
        raise DataError(f"{labels}: no such folder, expected the labels of {images} in it; restore it")
    found = by_key(visible_files(images, _SUFFIXES), lambda path: path.stem)
    if not found:
        raise DataError(f"{images}: no image in it, expected files {', '.join(_SUFFIXES)}; set data.root to another folder")
    label_of = by_key(visible_files(labels, (".png",)), lambda path: path.stem)
    return [FramePair(*pair) for pair in matched(found, label_of, labels_in=labels, suffix=".png")]


def _listed_pairs(root: Path, list_file: Path) -> list[FramePair]:
    """The pairs of a list file, found again under the root."""
    pairs: list[FramePair] = []
    for number, fields in read_lines(list_file, form="'IMAGE LABEL'"):
        if len(fields) != 2:
            raise DataError(f"{list_file}:{number}: got {len(fields)} fields, expected 'IMAGE LABEL'; correct the line")
        image, label = (root.joinpath(*PurePosixPath(field).parts[-2:]) for field in fields)
        for path in (image, label):
            if not path.is_file():
                raise DataError(f"{path}: no such file, but {list_file}:{number} lists it; restore it or remove the line")
        pairs.append(FramePair(image.stem, image, label))
    by_key([pair.image for pair in pairs], lambda path: path.stem)
    return pairs
