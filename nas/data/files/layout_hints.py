"""Settings to type where the files of a data set do not lie as its settings say, told from what is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.data.files.folder_layout import Layout
from nas.data.files.name_hints import shared_folder_suffixes
from nas.data.files.pairs import IMAGE_SUFFIXES
from nas.files.command_words import setting

_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}
"""Names that people give to the folders of splits."""
_LAYOUTS = (("SPLIT/images", "SPLIT/masks"), ("SPLIT/images", "SPLIT/labels"), ("images/SPLIT", "labels/SPLIT"))
"""Places of images and of masks that people have, beside those of the defaults."""
_LIST_ENDINGS = (".txt", ".csv", ".tsv", ".lst")
HOLDOUT = f"{setting('data.holdout', 5)} to validate on every fifth training image"


def no_images(layout: Layout, split: str) -> str:
    """What to do where the list of a split or the folder of its images is not there."""
    pattern, key = (layout.images, "data.images") if layout.lists is None else (layout.lists, "data.lists")
    for name in _NAMES[split]:
        if "SPLIT" in pattern and (layout.root / pattern.replace("SPLIT", name)).exists():
            return f"set {setting(f'data.{split}', name)}"
    moved = _moved(layout.root, pattern.replace("SPLIT", layout.folders[split] or ""))
    if moved is not None:
        return moved
    if layout.lists is None:
        asked = _other_layout(layout.root, split)
        if asked:
            return f"set {' '.join(asked)}"
    usual = f"data.root, {key} or data.{split}"
    return f"set {HOLDOUT}, or correct {usual}" if split == "val" else f"set {usual}"


def _moved(root: Path, path: str) -> str | None:
    """What to do where a path lies one folder deeper than the root, or in other letters; None: it does neither."""
    try:
        for inner in sorted(root.iterdir()):
            if (inner / path).exists():
                return f"set {setting('data.root', inner)}"
            first, _, rest = path.partition("/")
            if inner.name.lower() == first.lower() and (inner / rest).exists():
                return f"{inner / rest} is there: correct capital letters"
    except OSError:
        pass
    return None


def _other_layout(root: Path, split: str) -> list[str]:
    """Settings of a layout that is there; none: there is no such."""
    for name in _NAMES[split]:
        named = [setting(f"data.{split}", name)] if name != split else []
        for images, masks in _LAYOUTS:
            if all((root / path.replace("SPLIT", name)).is_dir() for path in (images, masks)):
                return [setting("data.images", images), setting("data.masks", masks), *named]
        suffixes = _shared_suffixes(root / name)
        if suffixes is not None:
            return [*_shared_settings("SPLIT", suffixes), *named]
    if all((root / folder).is_dir() and not (root / folder / "train").is_dir() for folder in ("images", "masks")):
        return [setting("data.images", "images"), setting("data.masks", "masks"), setting("data.holdout", 5)]
    for name in _NAMES[split]:
        for ending in _LIST_ENDINGS:
            if (root / f"{name}{ending}").is_file():
                named = [setting(f"data.{split}", name)] if name != split else []
                return [setting("data.lists", f"SPLIT{ending}"), *named]
    suffixes = _shared_suffixes(root)
    return [] if suffixes is None else [*_shared_settings(".", suffixes), setting("data.holdout", 5)]


def no_masks(layout: Layout, split: str) -> str:
    """What to do where the folder of the masks of a split is not there."""
    for images, masks in _LAYOUTS:
        if images == layout.images and layout.path(masks, split).is_dir():
            return f"set {setting('data.masks', masks)}"
    usual = "set data.root or data.masks, or choose a split that has masks, e.g. split=val"
    return one_folder(layout, split) or usual


def one_folder(layout: Layout, split: str) -> str | None:
    """What to do where images and masks lie in one folder and the settings do not say so; None: they do not lie so."""
    suffixes = _shared_suffixes(layout.path(layout.images, split))
    if suffixes is None or (suffixes == (layout.image_suffix, layout.mask_suffix) and layout.images == layout.masks):
        return None
    return f"if images and masks lie in one folder, set {' '.join(_shared_settings(layout.images, suffixes))}"


def _shared_suffixes(folder: Path) -> tuple[str, str] | None:
    """The likely suffixes of images and masks in a folder that holds both; None: it does not, or cannot be read."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.name.lower().endswith(IMAGE_SUFFIXES))
    except OSError:
        return None
    return shared_folder_suffixes(names)


def _shared_settings(folder: str, suffixes: Sequence[str]) -> list[str]:
    """The settings of images and masks in one folder."""
    keys = ("data.images", "data.masks", "data.image_suffix", "data.mask_suffix")
    return [setting(key, value) for key, value in zip(keys, (folder, folder, *suffixes), strict=True)]


def one_source(layout: Layout, split: str, others: Sequence[str]) -> str:
    """What to do where a split reads the same images as others."""
    key, pattern = ("data.images", layout.images) if layout.lists is None else ("data.lists", layout.lists)
    if "SPLIT" in pattern:
        apart = f"data.{split} or data.{others[-1]} to another name"
    elif layout.lists is not None:
        apart = f"{key} to a path with SPLIT in it"
    else:
        keys = (("data.images", layout.images), ("data.masks", layout.masks))
        named = [setting(key, with_split) for key, path in keys if (with_split := _with_split(path, layout)) is not None]
        apart = " ".join(named) or "data.images and data.masks to paths with SPLIT in them"
    if split == "test" and (layout.holdout or len(others) == 1):
        return f"set split={others[-1]}, or {apart}"
    lists = (
        "" if layout.lists is not None or "SPLIT" in pattern else f", or {setting('data.lists', 'SPLIT.txt')} for lists of images"
    )
    return f"set {HOLDOUT}, or {apart}{lists}"


def _with_split(path: str, layout: Layout) -> str | None:
    """A path with SPLIT in place of the name of a split's folder; None: it names none."""
    parts = ["SPLIT" if part in layout.folders.values() else part for part in path.split("/")]
    return "/".join(parts) if "SPLIT" in parts else None
