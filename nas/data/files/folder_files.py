"""Paths of the images and masks of a user's own data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.data.dataset import SPLITS
from nas.data.files.pairs import IMAGE_SUFFIXES, FramePair, by_key, matched, read_lines, visible_files
from nas.errors import DataError

_FORM = "'IMAGE MASK' or 'NAME'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Names of the files of a data set; see `nas.data.folder.FolderConfig`."""

    root: Path
    images: str
    masks: str
    image_suffix: str | None
    mask_suffix: str
    lists: str | None
    folders: Mapping[str, str | None]

    def path(self, pattern: str, split: str) -> Path:
        """A path of a split."""
        return self.root / pattern.replace("SPLIT", self.folders[split] or "")


def find_pairs(layout: Layout, split: str) -> list[FramePair]:
    """All pairs of a split, sorted by name.

    Raises:
        DataError: If something is not where the layout says, or the split has no images.
    """
    if layout.folders[split] is None:
        have = [name for name in SPLITS if layout.folders[name] is not None]
        raise DataError(
            f"split: got {split}, and data.{split} is null: this data set has no such split with masks;"
            f" set split= to {' or '.join(have)}"
        )
    if not layout.root.is_dir():
        raise DataError(f"{layout.root}: no such folder; set data.root to the folder of the data set")
    pairs = _folder_pairs(layout, split) if layout.lists is None else _listed_pairs(layout, split, layout.path(layout.lists, split))
    named: dict[str, FramePair] = {}
    for pair in pairs:
        if pair.name in named:
            other = named[pair.name].image
            raise DataError(f"{pair.image}: same name as {other}, expected one image a name; rename or remove one")
        named[pair.name] = pair
    return [named[name] for name in sorted(named)]


def _folder_pairs(layout: Layout, split: str) -> list[FramePair]:
    """The pairs of equal names below two folders."""
    images_in, masks_in = layout.path(layout.images, split), layout.path(layout.masks, split)
    images = _images(layout, split)
    if not masks_in.is_dir():
        raise DataError(
            f"{masks_in}: no such folder, expected the masks of {images_in}; set data.root or data.masks,"
            " or choose a split that has masks, e.g. split=val"
        )
    suffix = layout.mask_suffix
    files = visible_files(masks_in, (suffix.lower(),), deep=True)
    masks = by_key(files, lambda path: path.relative_to(masks_in).as_posix()[: -len(suffix)])
    return [FramePair(_name(key), image, mask) for key, image, mask in matched(images, masks, labels_in=masks_in, suffix=suffix)]


def _images(layout: Layout, split: str) -> dict[str, Path]:
    """The images of a split by their names below their folder, without suffix."""
    folder, suffix = layout.path(layout.images, split), layout.image_suffix
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, expected the {split} images; set data.root, data.images or data.{split}")
    files = visible_files(folder, IMAGE_SUFFIXES if suffix is None else (suffix.lower(),), deep=True)
    if not files:
        kinds = suffix or ", ".join(IMAGE_SUFFIXES)
        raise DataError(f"{folder}: no image in it, expected files {kinds}; set data.root, data.images or data.image_suffix")
    return by_key(files, lambda path: path.relative_to(folder).as_posix()[: -len(suffix or path.suffix)])


def _listed_pairs(layout: Layout, split: str, list_file: Path) -> list[FramePair]:
    """The pairs that a list names."""
    lines = read_lines(list_file, form=_FORM)
    named = _images(layout, split) if any(len(fields) == 1 for _, fields in lines) else {}
    pairs = []
    for number, fields in lines:
        where = f"{list_file}:{number}"
        if len(fields) > 2:
            raise DataError(f"{where}: got {len(fields)} fields, expected {_FORM}; correct the line")
        pair = _named_pair(layout, split, fields[0], named, where) if len(fields) == 1 else _pair(layout, fields[0], fields[1])
        for path in (pair.image, pair.label):
            if path is not None and not path.is_file():
                raise DataError(f"{path}: no such file, but {where} asks for it; restore it or remove the line")
        pairs.append(pair)
    return pairs


def _pair(layout: Layout, image: str, mask: str) -> FramePair:
    """A pair of paths relative to the root."""
    return FramePair(_name(Path(image).with_suffix("").as_posix()), layout.root / image, layout.root / mask)


def _named_pair(layout: Layout, split: str, field: str, images: Mapping[str, Path], where: str) -> FramePair:
    """The pair of an image's name below the folder of images."""
    folder = layout.path(layout.images, split)
    files = {path.relative_to(folder).as_posix(): key for key, path in images.items()}
    key = files.get(field, field)
    if key not in images:
        raise DataError(f"{where}: no image {field} in {folder}, expected a file there; restore it or remove the line")
    return FramePair(_name(key), images[key], layout.path(layout.masks, split) / f"{key}{layout.mask_suffix}")


def _name(key: str) -> str:
    """A name without folders."""
    return key.strip("/").replace("/", "_")
