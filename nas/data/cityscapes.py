"""Cityscapes: street scenes of 50 cities with labels of 19 classes (Cordts et al., 2016), as its archives unpack.

`ROOT/leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png` with `ROOT/gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png`, or the same
with gtCoarse. The label files hold label ids; what is trained and evaluated are the 19 train ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nas.data.classes.cityscapes_labels import CITYSCAPES, LABEL_IDS, LICENCE_PLATE, NUM_LABEL_IDS
from nas.data.dataset import SPLITS
from nas.data.files.file_walk import find_files
from nas.data.files.label_code import IdCode
from nas.data.files.name_hints import NamedFiles
from nas.data.files.pair_dataset import PairConfig, PairDataset
from nas.data.files.pairs import FramePair, by_key, matched, passed_beside
from nas.data.files.shared_images import refuse_shared
from nas.devices.path_settings import path_setting
from nas.errors import ConfigError, DataError
from nas.files.value_text import value_text

_IMAGES = "leftImg8bit"
_LABELS = {"fine": "gtFine", "coarse": "gtCoarse"}
_IMAGE_ENDINGS = (f"_{_IMAGES.lower()}.png",)
_BESIDE = ("color.png", "polygons.json", "instanceIds.png", "labelTrainIds.png", "instanceTrainIds.png")
"""What the archives and Cityscapes' own scripts put beside the labels that are read."""
_TRAIN_FOLDERS = {"fine": ("train",), "coarse": ("train", "train_extra")}

CITYSCAPES_CODE = IdCode(
    classes=LABEL_IDS,
    expected=f"0-{NUM_LABEL_IDS - 1}, or {LICENCE_PLATE} (void)",
    fix="restore the labelIds file of Cityscapes, not labelTrainIds or instanceIds",
)
"""Code of Cityscapes' `labelIds` files."""


@dataclass(kw_only=True, slots=True)
class CityscapesConfig(PairConfig):
    """Cityscapes on disk."""

    name: str = "cityscapes"
    """Name of the data set."""
    root: str = path_setting("???")
    """Folder that holds leftImg8bit/ and gtFine/ or gtCoarse/."""
    labels: str = "fine"
    """fine (gtFine) or coarse (gtCoarse); both hold train and val."""
    train_folders: list[str] = field(default_factory=lambda: ["train"])
    """Folders that make the training split: train, and with coarse labels also train_extra, alone or beside train."""

    def __post_init__(self) -> None:
        """Check the values."""
        PairConfig.__post_init__(self)
        if self.labels not in _LABELS:
            raise ConfigError(f"data.labels: got {self.labels!r}, expected one of {', '.join(_LABELS)}")
        allowed, got = _TRAIN_FOLDERS[self.labels], self.train_folders
        if not got or len(set(got)) != len(got) or not set(got) <= set(allowed):
            raise ConfigError(
                f"data.train_folders: got {value_text(got)}, expected {' or '.join(allowed)}, each once, with "
                f"data.labels={self.labels}; train_extra has coarse labels only"
            )


def cityscapes_dataset(config: CityscapesConfig, split: str) -> PairDataset:
    """One split of Cityscapes; the labels of test are all void, because the published ones are dummies.

    Raises:
        DataError: If it does not lie there, or an image lacks its label.
    """
    root = Path(config.root)
    if not (root / _IMAGES).is_dir():
        reason = f"not Cityscapes' folder: it has no {_IMAGES}/" if root.is_dir() else "no such folder"
        raise DataError(f"{root}: {reason}; set data.root to the folder that holds {_IMAGES}/ and {_LABELS[config.labels]}/")
    found = [_pairs(root, folder, _LABELS[config.labels], labelled=split != "test") for folder in _folders(config, split)]
    pairs = sorted((pair for one, _ in found for pair in one), key=lambda pair: pair.name)
    by_key([pair.image for pair in pairs], _frame)
    others = {other: _images_of(root, _folders(config, other)) for other in SPLITS if other != split}
    refuse_shared(split, [pair.image for pair in pairs], others, fix="remove it from one of them")
    return PairDataset(
        pairs,
        split,
        classes=CITYSCAPES,
        code=CITYSCAPES_CODE,
        config=config,
        no_truth=_why_no_truth(root) if split == "test" else None,
        full_resolution=True,
        passed_over=passed_beside((passed for _, passed in found), pairs),
    )


def _folders(config: CityscapesConfig, split: str) -> list[str]:
    """The folders of a split."""
    return config.train_folders if split == "train" else [split]


def _images_of(root: Path, folders: Iterable[str]) -> list[Path]:
    """Images of another split; what is wrong with that one is told where it is read."""
    try:
        there = [root / _IMAGES / folder for folder in folders if (root / _IMAGES / folder).is_dir()]
        return [image for folder in there for image in find_files(folder, _IMAGE_ENDINGS, deep=True).files]
    except DataError:
        return []


def _why_no_truth(root: Path) -> str:
    return (
        "the labels of Cityscapes' test split are dummies, only its benchmark server has the real ones;"
        f" set split=val, or draw predictions with images={root / _IMAGES / 'test'}"
    )


def _pairs(root: Path, folder: str, labels: str, *, labelled: bool) -> tuple[list[FramePair], dict[str, str]]:
    """The pairs of one folder of cities, and what lies among them."""
    images_in, labels_in = root / _IMAGES / folder, root / labels / folder
    if not images_in.is_dir():
        raise DataError(f"{images_in}: no such folder, expected the folders of its cities; unpack {_IMAGES} of Cityscapes there")
    found = find_files(images_in, _IMAGE_ENDINGS, deep=True)
    images = by_key(found.files, lambda path: _key(path, images_in))
    if not images:
        raise DataError(f"{images_in}: no image in it, expected CITY/*_{_IMAGES}.png; unpack {_IMAGES} of Cityscapes there")
    if not labelled:
        return [FramePair(_frame(image), image, None) for image in images.values()], found.passed
    if not labels_in.is_dir():
        raise DataError(f"{labels_in}: no such folder, expected the labels of {images_in}; unpack {labels} of Cityscapes there")
    suffix = f"_{labels}_labelIds.png"
    beside = tuple(f"_{labels}_{kind}".lower() for kind in _BESIDE)
    found_labels = find_files(labels_in, (suffix.lower(),), deep=True, known=beside)
    files = by_key(found_labels.files, lambda path: _key(path, labels_in))
    pairs = matched(NamedFiles(images, images_in, f"_{_IMAGES}.png"), NamedFiles(files, labels_in, suffix))
    return [FramePair(_frame(image), image, label) for _, image, label in pairs], {**found.passed, **found_labels.passed}


def _frame(path: Path) -> str:
    """CITY_SEQUENCE_FRAME of an image file."""
    return path.name[: -len(f"_{_IMAGES}.png")]


def _key(path: Path, folder: Path) -> str:
    """CITY/CITY_SEQUENCE_FRAME of an image or label file: its path without the last part of its name."""
    key = path.relative_to(folder).as_posix()
    ends = (f"_{_IMAGES}.png", *(f"_{name}_labelIds.png" for name in _LABELS.values()))
    return next((key[: -len(end)] for end in ends if key.lower().endswith(end.lower())), key)
