"""Where the files of a user's own data set lie, as its settings say, and how they are told from each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.data.dataset import SPLITS
from nas.data.files.file_walk import FoundFiles, find_files
from nas.data.files.pairs import IMAGE_SUFFIXES, by_key
from nas.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Names of the files of a data set; see `nas.data.folder.FolderConfig`.

    Args:
        folders: What SPLIT stands for in each split; None: there is no such split.
        holdout: Every how manieth image of train is the validation split; 0: `folders` has one.
    """

    root: Path
    images: str
    masks: str
    image_suffix: str | None
    mask_suffix: str
    lists: str | None
    folders: Mapping[str, str | None]
    holdout: int

    def path(self, pattern: str, split: str) -> Path:
        """A path of a split."""
        return self.root / pattern.replace("SPLIT", self.folders[split] or "")

    def source(self, split: str) -> Path | None:
        """What says which images a split has: its list, or the folder of its images; None: there is no such split."""
        if self.folders[split] is None:
            return None
        return self.path(self.images if self.lists is None else self.lists, split)

    def same_source(self, split: str) -> list[str]:
        """Other splits whose images would be those of this one."""
        source = self.source(split)
        resolved = source and source.resolve()
        return [other for other in SPLITS if other != split and (path := self.source(other)) and path.resolve() == resolved]

    def image_endings(self) -> tuple[str, ...]:
        """Ends of the names of images, lower case."""
        return IMAGE_SUFFIXES if self.image_suffix is None else (self.image_suffix.lower(),)

    def image_files(self, split: str) -> FoundFiles:
        """The images of a split. Where masks lie among them, the longer suffix tells which is which.

        Raises:
            ConfigError: If one suffix is that of both.
            DataError: If a folder cannot be read.
        """
        folder, masks = self.path(self.images, split), self.path(self.masks, split)
        if not _same(folder, masks):
            return find_files(folder, self.image_endings(), deep=True, apart=masks)
        self._check_suffixes(folder)
        return find_files(folder, self.image_endings(), deep=True, known=(self.mask_suffix.lower(),))

    def mask_files(self, split: str) -> FoundFiles:
        """The masks of a split.

        Raises:
            DataError: If a folder cannot be read.
        """
        folder, images = self.path(self.masks, split), self.path(self.images, split)
        ending = self.mask_suffix.lower()
        if not _same(folder, images):
            return find_files(folder, (ending,), deep=True, apart=images)
        known = [suffix for suffix in self.image_endings() if suffix != ending]
        return find_files(folder, (ending,), deep=True, known=known)

    def keyed_images(self, files: list[Path], split: str) -> dict[str, Path]:
        """Images by their names below their folder, without suffix.

        Raises:
            DataError: If two share a name.
        """
        folder, suffix = self.path(self.images, split), self.image_suffix
        return by_key(files, lambda path: path.relative_to(folder).as_posix()[: -len(suffix or path.suffix)])

    def keyed_masks(self, files: list[Path], split: str) -> dict[str, Path]:
        """The same for masks."""
        folder, suffix = self.path(self.masks, split), self.mask_suffix
        return by_key(files, lambda path: path.relative_to(folder).as_posix()[: -len(suffix)])

    def _check_suffixes(self, folder: Path) -> None:
        if self.image_suffix is not None and self.image_suffix.lower() == self.mask_suffix.lower():
            raise ConfigError(
                f"data.image_suffix: got {self.image_suffix} as data.mask_suffix, and {folder} holds images and masks;"
                " expected two suffixes, e.g. data.image_suffix=.jpg data.mask_suffix=_mask.png"
            )


def _same(first: Path, second: Path) -> bool:
    """Whether two folders are one."""
    return first.is_dir() and second.is_dir() and first.samefile(second)


def frame_name(key: str) -> str:
    """The name of an image from where it lies: a name without folders."""
    return key.strip("/").replace("/", "_")
