"""Images in one folder a class, for classification: ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg, the layout of ImageNet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.dataset import SPLITS, check_index, check_split
from nas.data.files.decode import image_size, read_image
from nas.data.files.file_walk import FoundFiles, entries_of, find_files, is_hidden
from nas.data.files.pairs import IMAGE_SUFFIXES
from nas.data.files.passed_over import HIDDEN, NO_CLASS, PassedOver
from nas.data.files.scan import scan_frames
from nas.data.files.shared_images import refuse_shared
from nas.data.scan_facts import ScanFacts
from nas.devices.path_settings import expand_home, path_setting
from nas.errors import ConfigError, DataError
from nas.files.value_text import value_text


@dataclass(kw_only=True, slots=True)
class ImageFolderConfig:
    """Images in one folder a class; `nas train train.task=classification` alone can use it."""

    name: str = "image_folder"
    """Name of the data set."""
    root: str = path_setting("???")
    """Folder that holds train/CLASS/ and val/CLASS/ with images, also in folders below; CLASS names the class."""
    size: list[int] = field(default_factory=lambda: [224, 224])
    """[height, width] in pixels at which images are validated, and trained unless train.crop says otherwise."""
    full_scan: bool = True
    """Decode every file before the first step; false reads only the headers: for a data set as large as ImageNet."""
    workers: int = 0
    """Worker processes that prepare batches; 0: none."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("data.", self)
        if len(self.size) != 2 or min(self.size) < 1:
            raise ConfigError(f"data.size: got {value_text(self.size)}, expected [HEIGHT,WIDTH] in pixels, both at least 1")
        if self.workers < 0:
            raise ConfigError(f"data.workers: got {self.workers}, expected at least 0")


class ImageFolder:
    """One split of images of classes.

    Args:
        config: Where it lies.
        split: train or val.

    Raises:
        DataError: If it does not lie there, a class has no image, or the splits have different classes.
    """

    def __init__(self, config: ImageFolderConfig, split: str) -> None:
        self.split = check_split(split)
        self.size = (config.size[0], config.size[1])
        self._full_scan = config.full_scan
        self._folder = _split_folder(Path(config.root), split)
        self.classes, passed = _class_names(self._folder)
        _check_same_classes(self._folder, self.classes)
        found = [_images(self._folder / name) for name in self.classes]
        files = [(path, label) for label, one in enumerate(found) for path in one.files]
        self.passed_over = PassedOver.of(
            {path: reason for one in (passed, *(one.passed for one in found)) for path, reason in one.items()}
        )
        self._paths = [path for path, _ in files]
        others = {other: _images_of(self._folder.parent / other) for other in SPLITS if other != split}
        refuse_shared(split, self._paths, others, fix="remove it from one of them")
        self.labels: NDArray[np.int64] = np.array([label for _, label in files], dtype=np.int64)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._paths)

    def name(self, index: int) -> str:
        """CLASS/FILE of an image."""
        check_index(index, len(self))
        return self._paths[index].relative_to(self._folder).as_posix()

    def load(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """Image [H, W, 3] (RGB) of any size, and its class id.

        Raises:
            DataError: If the file is missing or broken.
        """
        check_index(index, len(self))
        return read_image(self._paths[index]), int(self.labels[index])

    def scan(self) -> ScanFacts:
        """Read every file, or its header; each is of a class by its place, so that there is nothing to count.

        Raises:
            DataError: Naming the first broken one, and how many more there are.
        """
        scan_frames(self._check, len(self))
        return ScanFacts(len(self))

    def _check(self, index: int) -> None:
        if self._full_scan:
            self.load(index)
        else:
            image_size(self._paths[index])


IMAGE_DATASETS: dict[str, type[Any]] = {"image_folder": ImageFolderConfig}
"""Configs of the data sets of whole images that `data=` knows beside `nas.data.DATASETS`."""


def build_image_folder(config: Any, split: str) -> ImageFolder:
    """One split of the image folder that a config describes.

    Raises:
        ConfigError: If it is the config of another data set.
        DataError: If the images are not where they should be.
    """
    if not isinstance(config, ImageFolderConfig):
        raise ConfigError(
            f"train.task=classification: got data={config.name}, which labels pixels, expected classes of whole images; "
            "give data=image_folder data.root=FOLDER, or leave train.task out"
        )
    return ImageFolder(config, split)


def _split_folder(root: Path, split: str) -> Path:
    folder = root / split
    if not folder.is_dir():
        got = f"no folder {split}/ in it" if root.is_dir() else "no such folder"
        raise DataError(f"{root}: {got}, expected train/CLASS/ and val/CLASS/ with images; correct data.root")
    return folder


def _class_names(folder: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """The classes of a split, and what lies beside their folders."""
    found = entries_of(folder)
    hidden = {entry.path: HIDDEN for entry in found if is_hidden(entry.name)}
    names = tuple(entry.name for entry in found if Path(entry.path).is_dir() and entry.path not in hidden)
    if len(names) < 2:
        raise DataError(f"{folder}: got {len(names)} folders of classes, expected at least 2; give each class a folder of images")
    return names, hidden | {entry.path: NO_CLASS for entry in found if entry.path not in hidden and entry.name not in names}


def _check_same_classes(folder: Path, names: tuple[str, ...]) -> None:
    """The class ids of train and val must mean the same."""
    other = folder.parent / ("val" if folder.name == "train" else "train")
    different = sorted(set(names) ^ set(_class_names(other)[0])) if other.is_dir() else []
    if different:
        raise DataError(
            f"{folder.parent}: train/ and val/ have different classes, {', '.join(different[:5])} is in one of them only; "
            "expected the same folders in both"
        )


def _images(folder: Path) -> FoundFiles:
    """The images of a class in the order of their paths, and what lies among them."""
    found = find_files(folder, IMAGE_SUFFIXES, deep=True)
    if not found.files:
        raise DataError(f"{folder}: no image in it, expected {', '.join(IMAGE_SUFFIXES)} files; fill it, or remove the class")
    return found


def _images_of(folder: Path) -> list[Path]:
    """Images of another split; what is wrong with that one is told where it is read."""
    try:
        return find_files(folder, IMAGE_SUFFIXES, deep=True).files if folder.is_dir() else []
    except DataError:
        return []
