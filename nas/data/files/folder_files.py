"""Paths of the images and masks of a user's own data set, split by split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nas.data.dataset import SPLITS
from nas.data.files.file_walk import FoundFiles
from nas.data.files.folder_layout import Layout, frame_name
from nas.data.files.folder_lists import pairs_of_list
from nas.data.files.label_pixels import lossy_format_of
from nas.data.files.layout_hints import HOLDOUT, no_images, no_masks, one_folder, one_source
from nas.data.files.name_hints import NamedFiles, other_suffix
from nas.data.files.pairs import IMAGE_SUFFIXES, FoundPairs, FramePair, matched, passed_beside
from nas.data.files.passed_over import OTHER_KIND
from nas.data.files.shared_images import refuse_shared
from nas.errors import ConfigError, DataError


def find_pairs(layout: Layout, split: str) -> FoundPairs:
    """All pairs of a split, sorted by name.

    Raises:
        ConfigError: If there is nothing to hold out.
        DataError: If something is not where the layout says, the split has no images, or one that is in another split too.
    """
    _check_split(layout, split)
    found = _split_pairs(layout, split)
    named: dict[str, FramePair] = {}
    for pair in found.pairs:
        if pair.name in named:
            other = named[pair.name].image
            raise DataError(f"{pair.image}: same name as {other}, expected one image a name; rename or remove one")
        named[pair.name] = pair
    same = layout.same_source(split)
    apart = [other for other in SPLITS if other not in (split, *same) and layout.folders[other] is not None]
    others = {other: _images_of(layout, other) for other in apart if not (layout.holdout and other == "val")}
    refuse_shared(split, [pair.image for pair in found.pairs], others, fix=_fix_shared(layout))
    pairs = [named[name] for name in sorted(named)]
    if layout.holdout and split != "test":
        pairs = [pair for index, pair in enumerate(pairs) if (index % layout.holdout == 0) == (split == "val")]
        if not pairs:
            raise ConfigError("data.holdout: got a training folder of one image, expected at least two to divide; add images")
    return FoundPairs(pairs, found.passed_over)


def _check_split(layout: Layout, split: str) -> None:
    """Refuse a split that there is not, or that would be another one."""
    source = layout.source(split)
    if source is None:
        have = [name for name in SPLITS if layout.folders[name] is not None]
        advice = f"; set {HOLDOUT}, or split= to " if split == "val" else "; set split= to "
        raise DataError(
            f"split: got {split}, and data.{split} is null: this data set has no such split with masks{advice}{' or '.join(have)}"
        )
    if not layout.root.is_dir():
        raise DataError(f"{layout.root}: no such folder; set data.root to the folder of the data set")
    # A test split that is read from where train and val are is none, and does not stop a training.
    same = [other for other in layout.same_source(split) if split == "test" or (other != "test" and not layout.holdout)]
    if same:
        alike = [name for name in SPLITS if name in (split, *same)]
        raise DataError(
            f"{source}: got the same images for {', '.join(alike[:-1])} and {alike[-1]}, expected each image in one split;"
            f" {one_source(layout, split, same)}"
        )


def _split_pairs(layout: Layout, split: str) -> FoundPairs:
    if layout.lists is None:
        return _folder_pairs(layout, split)
    source = layout.path(layout.lists, split)
    if not source.is_file():
        raise DataError(f"{source}: no such file, expected the list of the {split} images; {no_images(layout, split)}")
    return pairs_of_list(layout, split)


def _folder_pairs(layout: Layout, split: str) -> FoundPairs:
    """The pairs of equal names below two folders."""
    images_in, masks_in = layout.path(layout.images, split), layout.path(layout.masks, split)
    if not images_in.is_dir():
        raise DataError(f"{images_in}: no such folder, expected the {split} images; {no_images(layout, split)}")
    images = layout.image_files(split)
    if not images.files:
        kinds = ", ".join(layout.image_endings())
        advice = one_folder(layout, split) or "set data.root, data.images or data.image_suffix"
        raise DataError(f"{images_in}: no image in it, expected files {kinds}; {advice}")
    if not masks_in.is_dir():
        raise DataError(f"{masks_in}: no such folder, expected the masks of {images_in}; {no_masks(layout, split)}")
    masks = layout.mask_files(split)
    pairs = matched(
        NamedFiles(layout.keyed_images(images.files, split), images_in, layout.image_suffix or "", "data.image_suffix"),
        NamedFiles(layout.keyed_masks(masks.files, split), masks_in, layout.mask_suffix, "data.mask_suffix"),
        advice=partial(_advice, layout, split, masks),
    )
    found = [FramePair(frame_name(key), image, mask) for key, image, mask in pairs]
    return FoundPairs(found, passed_beside((images.passed, masks.passed), found))


def _advice(layout: Layout, split: str, masks: FoundFiles, bare: Sequence[str]) -> str | None:
    """What to do about images without masks, where the place or the other files of the masks say it."""
    images_in, masks_in = layout.path(layout.images, split), layout.path(layout.masks, split)
    if images_in.samefile(masks_in):
        return one_folder(layout, split)
    others = [Path(path) for path, reason in masks.passed.items() if reason == OTHER_KIND]
    pictures = [path.relative_to(masks_in).as_posix() for path in others if path.suffix.lower() in IMAGE_SUFFIXES]
    return other_suffix(bare, pictures, lambda path: lossy_format_of(masks_in / path))


def _images_of(layout: Layout, split: str) -> list[Path]:
    """Images of another split; what is wrong with that one is told where it is read."""
    try:
        if layout.lists is not None:
            return [pair.image for pair in pairs_of_list(layout, split).pairs]
        return layout.image_files(split).files if layout.path(layout.images, split).is_dir() else []
    except (ConfigError, DataError):
        return []


def _fix_shared(layout: Layout) -> str:
    """What to do about an image in two splits."""
    where = "folders" if layout.lists is None else "lists"
    return f"remove it from one of the {where}, or set data.val or data.test to null where a split is not to be used"
