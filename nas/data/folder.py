"""A user's own images and masks: folders or lists of files, and a YAML file of classes.

By default ROOT/images/{train,val,test}, ROOT/masks/{train,val,test} with masks of the images' names, and
ROOT/classes.yaml; every part of that is a key. KITTI and BDD100K are presets of it in conf/data/.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.data.classes.class_file import KNOWN_CLASSES, CodedClasses, load_classes
from nas.data.files.folder_files import find_pairs
from nas.data.files.folder_layout import Layout
from nas.data.files.pair_dataset import PairConfig, PairDataset
from nas.devices.path_settings import path_setting
from nas.errors import ConfigError, DataError


@dataclass(kw_only=True, slots=True)
class FolderConfig(PairConfig):
    """Images and masks on disk. SPLIT in a path stands for the split's folder."""

    name: str = "folder"
    """Name of the data set."""
    root: str = path_setting("???")
    """Folder to which the other paths are relative."""
    classes: str = path_setting("classes.yaml")
    """YAML file of the classes, relative to the current folder, else to root; or cityscapes (label ids), cityscapes_train_ids or
    camvid, which need no file."""
    images: str = path_setting("images/SPLIT")
    """Folder of a split's images; folders below and links count."""
    masks: str = path_setting("masks/SPLIT")
    """Folder of a split's masks; each lies as its image does below the folder of images."""
    image_suffix: str | None = None
    """Ending of the names of images, e.g. _rgb.png; null: any image file, only its extension is cut off."""
    mask_suffix: str = ".png"
    """Ending of the names of masks, after the beginning of the image's name."""
    lists: str | None = path_setting(None)
    """List file of a split, e.g. SPLIT.txt: on each line an image and a mask, relative to root, with a tab, a comma or spaces
    between, or an image alone, relative to `images`, with or without its extension; null: all images of the folders."""
    train: str | None = "train"
    """Value of SPLIT in the training split; null: there is none."""
    val: str | None = "val"
    """The same for the validation split; not used with `holdout`."""
    test: str | None = "test"
    """The same for the test split."""
    holdout: int = 0
    """n: the images 0, n, 2n, ... of the training folder, by name, are the validation split and the rest train; 0: `val` is."""

    def __post_init__(self) -> None:
        """Check the values."""
        PairConfig.__post_init__(self)
        if self.holdout < 0 or self.holdout == 1:
            raise ConfigError(f"data.holdout: got {self.holdout}, expected at least 2, or 0 for a validation folder of its own")
        for key in ("mask_suffix", "image_suffix"):
            if getattr(self, key) == "":
                raise ConfigError(f"data.{key}: got nothing, expected the end of a file's name, e.g. .png")


def folder_classes(config: FolderConfig) -> CodedClasses:
    """The classes of a data set, which may be known though its images are not there.

    Raises:
        DataError: If their file is missing or wrong.
    """
    if config.classes in KNOWN_CLASSES:
        return KNOWN_CLASSES[config.classes]
    return load_classes(_class_file(Path(config.classes), Path(config.root)))


def _class_file(given: Path, root: Path) -> Path:
    """The file of classes: relative to the current folder, else to the root."""
    found = [path for path in dict.fromkeys((given, root / given)) if path.is_file()]
    if not found:
        places = f"{given} or {root / given}" if given != root / given else f"{given}"
        raise DataError(
            f"{places}: no such file, expected a YAML file of classes; write one, or set data.classes to it or to one of"
            f" {', '.join(KNOWN_CLASSES)}"
        )
    if len(found) == 2 and found[0].read_bytes() != found[1].read_bytes():
        raise DataError(
            f"data.classes: got {given}, and there are {found[0].absolute()} and {found[1].absolute()}, which differ;"
            " expected one file; give its whole path"
        )
    return found[0]


def folder_dataset(config: FolderConfig, split: str) -> PairDataset:
    """One split of a user's own data.

    Raises:
        DataError: If something is missing, or an image lacks its mask.
    """
    layout = Layout(
        root=Path(config.root),
        images=config.images,
        masks=config.masks,
        image_suffix=config.image_suffix,
        mask_suffix=config.mask_suffix,
        lists=config.lists,
        folders={"train": config.train, "val": config.train if config.holdout else config.val, "test": config.test},
        holdout=config.holdout,
    )
    found = find_pairs(layout, split)
    coded = folder_classes(config)
    return PairDataset(found.pairs, split, classes=coded.classes, code=coded.code, config=config, passed_over=found.passed_over)
