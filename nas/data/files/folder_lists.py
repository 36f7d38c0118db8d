"""The pairs of a user's own data set that a list file names."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nas.data.files.folder_layout import Layout, frame_name
from nas.data.files.list_lines import ExistingFiles, Line, listed_pairs, spellings
from nas.data.files.pairs import FoundPairs, FramePair
from nas.errors import DataError

_FORM = "'IMAGE MASK' or 'NAME'"


def pairs_of_list(layout: Layout, split: str) -> FoundPairs:
    """The pairs that the list of a split names.

    Raises:
        DataError: If a line names no pair, or can be read in two ways.
    """
    assert layout.lists is not None
    reader = _Reader(layout, split, ExistingFiles(), cache(lambda: _images(layout, split)))
    return listed_pairs(layout.path(layout.lists, split), form=_FORM, readings=reader.readings, fault=reader.fault)


@dataclass(frozen=True, slots=True)
class _Images:
    """Images below their folder.

    Args:
        files: Name -> file.
        names: Name, or path below the folder -> the names that it may mean.
        name_of: File -> name.
    """

    files: dict[str, Path]
    names: dict[str, list[str]]
    name_of: dict[Path, str]


def _images(layout: Layout, split: str) -> _Images:
    folder = layout.path(layout.images, split)
    files = layout.keyed_images(layout.image_files(split).files, split) if folder.is_dir() else {}
    names: dict[str, list[str]] = {}
    for name, path in files.items():
        inner = unicodedata.normalize("NFC", path.relative_to(folder).as_posix())
        for field in {name, inner, inner.removesuffix(path.suffix) + path.suffix.lower()}:
            names.setdefault(field, []).append(name)
    return _Images(files, names, {path: name for name, path in files.items()})


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the lines of one list."""

    layout: Layout
    split: str
    existing: ExistingFiles
    images: Callable[[], _Images]

    def readings(self, line: Line) -> Iterator[FramePair]:
        """The pairs that a line may mean: a path of an image and one of a mask, or the name of an image."""
        found = False
        for half in line.halves():
            image, mask = (self._file(field) for field in half)
            if image is not None and mask is not None:
                found = True
                yield FramePair(frame_name(self._below_root(image).with_suffix("").as_posix()), image, mask)
        # The folder is searched only for lines that need it.
        if not found or os.path.isfile(self.layout.path(self.layout.images, self.split) / line.text):  # noqa: PTH113 - may be too long
            yield from self._named(line)

    def fault(self, line: Line) -> str:
        """What is wrong with a line that means no pair."""
        fields, folder = line.fields, self.layout.path(self.layout.images, self.split)
        if len(fields) == 1:
            return f"{line.where}: no image {fields[0]} in {folder}, expected a file there; restore it or remove the line"
        if len(fields) > 2:
            return (
                f"{line.where}: got {len(fields)} fields that are no two files below {self.layout.root} and no image in {folder},"
                f" expected {_FORM}; correct the line"
            )
        missing = next((field for field in fields if self._file(field) is None), fields[0])
        if " ".join(fields) == line.text and not any(map(self._file, fields)):
            return (
                f"{line.where}: neither an image {line.text} in {folder} nor two files below {self.layout.root}, expected {_FORM};"
                " correct or remove the line"
            )
        return f"{self.layout.root / missing}: no such file, but {line.where} asks for it; restore it or remove the line"

    def _file(self, field: str) -> Path | None:
        """The file of a path that is absolute or relative to the root."""
        places: list[Path] = []
        for text in spellings(field):
            places += [Path(text)] if Path(text).is_absolute() else []
            places.append(self.layout.root / text.lstrip("/"))
        return self.existing.first(places)

    def _below_root(self, path: Path) -> Path:
        return path.relative_to(self.layout.root) if path.is_relative_to(self.layout.root) else path

    def _named(self, line: Line) -> Iterator[FramePair]:
        """The pairs of the images that a field alone may mean: by name, by path below their folder or below the root."""
        field = line.fields[0] if len(line.fields) == 1 else line.text
        images, layout = self.images(), self.layout
        fields = [unicodedata.normalize("NFC", text.removeprefix("./")) for text in spellings(field)]
        keys = [key for text in fields for key in images.names.get(text, [])]
        path = self._file(field)
        keys += [images.name_of[path]] if path in images.name_of else []
        for key in dict.fromkeys(keys):
            mask = layout.path(layout.masks, self.split) / f"{key}{layout.mask_suffix}"
            label = self.existing.first([mask], ending=layout.mask_suffix)
            if label is None:
                raise DataError(f"{mask}: no such file, but {line.where} asks for it; restore it or remove the line")
            yield FramePair(frame_name(key), images.files[key], label)
