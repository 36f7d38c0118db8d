"""Where CamVid's images and labels lie on disk, in either of its two layouts.

Folders: `ROOT/train/NAME.jpg` or `.png` with `ROOT/trainannot/NAME.png`, and so on for val and test. Lists: a file
`ROOT/train.txt` with an image path and a label path on each line; that of the SegNet copy, whose paths begin with a
folder of its authors, so that only their last two components count. Where there is a list, it decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nas.errors import DataError

_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class FramePair:
    """An image file and its label file."""

    image: Path
    label: Path


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
    _refuse_twins(pairs)
    return sorted(pairs, key=lambda pair: pair.image.name)


def _expected(split: str) -> str:
    """What either layout holds for a split."""
    return f"{split}/ and {split}annot/ or the list {split}.txt"


def _folder_pairs(images: Path, labels: Path) -> list[FramePair]:
    """The pairs of equal stem in two folders."""
    if not labels.is_dir():
        raise DataError(f"{labels}: no such folder, expected the labels of {images} in it; restore it")
    found = _visible(images, _SUFFIXES)
    if not found:
        raise DataError(f"{images}: no image in it, expected files {', '.join(_SUFFIXES)}; set data.root to another folder")
    label_of = {path.stem: path for path in _visible(labels, (".png",))}
    bare = [path for path in found if path.stem not in label_of]
    if bare:
        raise DataError(f"{bare[0]}: no label{_more(bare)}, expected {labels / bare[0].stem}.png; restore it or remove the image")
    lonely = [label_of[stem] for stem in sorted(label_of.keys() - {path.stem for path in found})]
    if lonely:
        raise DataError(
            f"{lonely[0]}: no image{_more(lonely)}, expected {lonely[0].stem} in {images}; restore it or remove the label"
        )
    return [FramePair(path, label_of[path.stem]) for path in found]


def _listed_pairs(root: Path, list_file: Path) -> list[FramePair]:
    """The pairs of a list file, found again under the root."""
    try:
        lines = list_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{list_file}: unreadable ({error}), expected lines 'IMAGE LABEL'; restore it") from error
    pairs: list[FramePair] = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2:
            raise DataError(f"{list_file}:{number}: got {len(fields)} fields, expected 'IMAGE LABEL'; mend the line")
        image, label = (root.joinpath(*PurePosixPath(field).parts[-2:]) for field in fields)
        for path in (image, label):
            if not path.is_file():
                raise DataError(f"{path}: no such file, but {list_file}:{number} lists it; restore it or remove the line")
        pairs.append(FramePair(image, label))
    if not pairs:
        raise DataError(f"{list_file}: lists no image, expected lines 'IMAGE LABEL'; restore it or remove the file")
    return pairs


def _refuse_twins(pairs: Sequence[FramePair]) -> None:
    """Names of images must differ."""
    seen: dict[str, Path] = {}
    for pair in pairs:
        if pair.image.stem in seen:
            raise DataError(f"{pair.image}: same name as {seen[pair.image.stem]}, expected one image a name; remove one")
        seen[pair.image.stem] = pair.image


def _visible(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files with one of the suffixes, sorted, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith("."))


def _more(paths: Sequence[Path]) -> str:
    """How many more are affected."""
    return "" if len(paths) == 1 else f" (nor {len(paths) - 1} more)"
