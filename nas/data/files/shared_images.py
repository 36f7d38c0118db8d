"""An image that is in a data set twice: under two names of one split, or in two splits.

What counts is the file, whatever leads to it: a path, a link or a hard link. That is one `stat` for each image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from nas.errors import DataError

FileId = tuple[int, int]
"""Device and inode of a file."""


def refuse_shared(split: str, images: Iterable[Path], others: Mapping[str, Iterable[Path]], *, fix: str) -> None:
    """Refuse images that a split has twice or shares with another.

    Args:
        split: The split.
        images: Its images.
        others: Images of the other splits that are there.
        fix: What to do about an image in two splits.

    Raises:
        DataError: Naming the first such file, both places, and how many more there are.
    """
    own: dict[FileId, Path] = {}
    for path in images:
        identity = _identity(path)
        if identity is not None and identity in own:
            raise DataError(f"{path}: the same file as {own[identity]}, expected each image once; remove one")
        if identity is not None:
            own[identity] = path
    for other, paths in others.items():
        shared = [(own[identity], path) for path in paths if (identity := _identity(path)) in own]
        if shared:
            path, again = shared[0]
            where = "" if path == again else f" (as {again})"
            count = "" if len(shared) == 1 else f", and so are {len(shared) - 1} more"
            raise DataError(f"{path}: is in {split} and in {other}{where}{count}; expected each image in one split; {fix}")


def _identity(path: Path) -> FileId | None:
    """What is the same for a file and all links to it; None: it is not there, which is told where it is read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
