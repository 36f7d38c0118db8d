"""Data sets of image and label files: what they have in common, whatever their layout and their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.data.classes.class_set import ClassSet
from nas.data.dataset import IGNORE_INDEX, Frame, SegmentationDataset, check_index, check_split
from nas.data.files.decode import check_image, image_header, is_whole, read_image
from nas.data.files.frame_cache import FrameCache
from nas.data.files.image_header import ImageHeader
from nas.data.files.label_code import IdCode, LabelCode, ReadLabel
from nas.data.files.label_encoding import Encoding, check_encodings
from nas.data.files.orientation import check_exif_rule, check_turned, is_upright, size_note
from nas.data.files.pairs import FramePair
from nas.data.files.passed_over import NOTHING, PassedOver
from nas.data.files.resize import resize_image, resize_label
from nas.data.files.scan import scan_frames
from nas.data.scan_facts import FrameFacts, ScanFacts, facts_of, label_counts
from nas.devices.path_settings import expand_home, path_setting
from nas.errors import ConfigError, DataError
from nas.files.value_text import value_text

Checked = tuple[FrameFacts, Encoding]
"""What a scan takes from one image and its label."""


@dataclass(kw_only=True, slots=True)
class PairConfig:
    """Settings of every data set of files; the base of their configs."""

    name: str = "???"
    """Name of the data set."""
    root: str = path_setting("???")
    """Folder of the data set."""
    size: list[int] | None = None
    """[height, width] that images and labels are resized to on loading; null: as they are."""
    every: int = 1
    """Use every n-th image of each split, in the order of their names."""
    exif: str | None = None
    """upright: turn images, and masks with a tag of their own, as their EXIF tag Orientation says; stored: ignore the tags; null:
    turn images, and refuse a mask whose size does not show that it was drawn on the turned image. eval images= follows it too."""
    full_scan: bool = False
    """Decode every image before the first step; false: of a PNG the checksums are read, of a JPEG its first and last bytes."""
    cache: bool = False
    """Keep decoded and resized images in memory shared with the workers (4 bytes a pixel; at most half of what is available)."""
    workers: int = 0
    """Worker processes that prepare batches; 0: none."""

    def __post_init__(self) -> None:
        """Check the values."""
        expand_home("data.", self)
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ConfigError(
                f"data.size: got {value_text(self.size)}, expected [HEIGHT,WIDTH] in pixels, both at least 1, or null"
            )
        check_exif_rule(self.exif)
        for key, value, least in (("every", self.every, 1), ("workers", self.workers, 0)):
            if value < least:
                raise ConfigError(f"data.{key}: got {value}, expected at least {least}")


class PairDataset(SegmentationDataset):
    """One split of a data set of files.

    Args:
        pairs: Its files, at least one pair.
        split: train, val or test.
        classes: Names and colours.
        code: How label files are read.
        config: Size, sub-sampling and cache.
        no_truth: Why the labels are not to be measured against; None: they are.
        full_resolution: Whether the data set's own protocol counts at the size of the label files.
        passed_over: What lies among the files and is not used.

    Raises:
        DataError: If the first image cannot be read.
    """

    def __init__(
        self,
        pairs: Sequence[FramePair],
        split: str,
        *,
        classes: ClassSet,
        code: LabelCode,
        config: PairConfig,
        no_truth: str | None = None,
        full_resolution: bool = False,
        passed_over: PassedOver = NOTHING,
    ) -> None:
        self.split = check_split(split)
        self.classes = classes.names
        self.palette = classes.palette
        self.no_truth = no_truth
        self.full_resolution = full_resolution
        self.passed_over = passed_over
        self.classes_file = classes.file
        self.ids = code.classes if isinstance(code, IdCode) else None
        self.stored_classes = code.classes
        self._pairs = list(pairs)[:: config.every]
        self._code = code
        self._resize = config.size is not None
        self._exif = config.exif
        self._upright = is_upright(config.exif)
        self._full_scan = config.full_scan
        self._size = (
            image_header(self._pairs[0].image).size(upright=self._upright)
            if config.size is None
            else (config.size[0], config.size[1])
        )
        self._cache = FrameCache(len(self._pairs), self._size) if config.cache else None

    def __len__(self) -> int:
        """Number of images in use."""
        return len(self._pairs)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._size

    def name(self, index: int) -> str:
        """The name that the layout of the files gives the image."""
        check_index(index, len(self))
        return self._pairs[index].name

    def load(self, index: int) -> Frame:
        """The frame, read or remembered."""
        check_index(index, len(self))
        return self._read(index) if self._cache is None else self._cache.get(index, self._read)

    def truth(self, index: int) -> NDArray[np.uint8]:
        """The label as its file has it, not resized."""
        check_index(index, len(self))
        return self._label_of(index).classes

    def scan(self) -> ScanFacts:
        """Check every file of the split, and whether all label files mean the same by what they store.

        With the cache on or data.full_scan, every image is decoded, with the cache once for all. Without, of every image the header
        is read, and whether its file is whole.
        """
        checked = scan_frames(self._check, len(self))
        encodings = [(pair.label, encoding) for pair, (_, encoding) in zip(self._pairs, checked, strict=True) if pair.label]
        check_encodings(encodings)
        return facts_of([facts for facts, _ in checked], encodings)

    def _check(self, index: int) -> Checked:
        pair = self._pairs[index]
        header = check_image(pair.image)
        self._check_size(pair, header)
        if pair.label is not None:
            is_whole(pair.label)
        if self._cache is not None:
            return self._remember(index, self._cache)
        if self._full_scan:
            read_image(pair.image)
        return self._checked(self._label(pair, header))

    def _remember(self, index: int, cache: FrameCache) -> Checked:
        """What is checked of a frame on its way into the cache; of one that is there already, from its label alone."""
        checked: list[Checked] = []

        def read(place: int) -> Frame:
            image, label = self._stored(place)
            checked.append(self._checked(label))
            return self._resized(image, label.classes)

        cache.get(index, read)
        return checked[0] if checked else self._checked(self._label_of(index))

    def _checked(self, label: ReadLabel) -> Checked:
        return FrameFacts(label_counts(label.classes, len(self.classes))), label.encoding()

    def _read(self, index: int) -> Frame:
        image, label = self._stored(index)
        return self._resized(image, label.classes)

    def _stored(self, index: int) -> tuple[NDArray[np.uint8], ReadLabel]:
        """Image and label as their files have them."""
        pair = self._pairs[index]
        header = image_header(pair.image)
        self._check_size(pair, header)
        return read_image(pair.image, upright=self._upright), self._label(pair, header)

    def _resized(self, image: NDArray[np.uint8], label: NDArray[np.uint8]) -> Frame:
        return resize_image(image, self._size), resize_label(label, self._size)

    def _label_of(self, index: int) -> ReadLabel:
        pair = self._pairs[index]
        return self._label(pair, image_header(pair.image))

    def _label(self, pair: FramePair, header: ImageHeader) -> ReadLabel:
        """The label of a pair whose image has the given header."""
        size = header.size(upright=self._upright)
        if pair.label is None:
            return ReadLabel(np.full(size, IGNORE_INDEX, dtype=np.uint8), header)
        label = self._code.read(pair.label, upright=self._upright)
        if self._exif is None:
            check_turned((pair.image, header), (pair.label, label.header))
        if label.classes.shape != size:
            raise DataError(
                f"{pair.label}: the label is {_text(label.classes.shape)}, its image {pair.image.name} is {_text(size)}"
                f"{size_note(header, self._exif)}, expected the same height x width; restore both from one copy of the data set"
            )
        return label

    def _check_size(self, pair: FramePair, header: ImageHeader) -> None:
        size = header.size(upright=self._upright)
        if not self._resize and size != self._size:
            raise DataError(
                f"{pair.image}: got {_text(size)}{size_note(header, self._exif)}, expected {_text(self._size)} like the first"
                f" image; set data.size=[{self._size[0]},{self._size[1]}] to resize all"
            )


def _text(size: tuple[int, ...]) -> str:
    """Height and width in words."""
    return f"{size[0]}x{size[1]}"
