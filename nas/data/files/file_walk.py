"""Files of a folder by the endings of their names, and everything beside them that was passed over."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.data.files.passed_over import BROKEN_LINK, DEEPER_FOLDER, HIDDEN, NO_FILE, OTHER_KIND, REPEATED_FOLDER
from nas.errors import DataError

_SYSTEM = ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "lost+found")
"""Names, lower case, of what systems put beside people's files; it counts as hidden."""


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """What a walk found.

    Args:
        files: Files that are wanted, sorted.
        passed: Path of what is not -> reason, one of `passed_over.REASONS`.
    """

    files: list[Path]
    passed: dict[str, str]


def find_files(
    folder: Path,
    endings: Sequence[str],
    *,
    deep: bool = False,
    known: Sequence[str] = (),
    apart: Path | None = None,
) -> FoundFiles:
    """Files whose names end with one of the endings in any case.

    Links are followed, to files and to folders. A folder counts once: what lies in it comes before what links to it, and
    a link to a folder that holds this one is passed over.

    Args:
        folder: Where to look.
        endings: Ends of names, lower case.
        deep: Also in folders below.
        known: Ends of names, lower case, that are not wanted and not worth a word, where they are longer than the ending.
        apart: A folder below that is not looked into, because it is read by itself.

    Raises:
        DataError: If a folder cannot be read.
    """
    wanted, unwanted = _Endings(endings), _Endings(known)
    files: list[Path] = []
    passed: dict[str, str] = {}
    # Folders that a link may not lead to again.
    done = {_identity(above) for above in folder.resolve().parents}
    separate = _identity(apart) if apart is not None and apart.is_dir() else None
    folders, links = deque([folder]), deque[Path]()
    while folders or links:
        here = folders.popleft() if folders else links.popleft()
        identity = _identity(here)
        if identity == separate:
            continue
        if identity in done:
            passed[str(here)] = REPEATED_FOLDER
            continue
        done.add(identity)
        for entry in entries_of(here):
            path = here / entry.name
            kind = _kind(entry)
            if kind in ("folder", "link to a folder") and deep:
                (folders if kind == "folder" else links).append(path)
            elif kind in ("folder", "link to a folder"):
                passed[str(path)] = DEEPER_FOLDER
            elif kind != "file":
                passed[str(path)] = kind
            elif wanted.length(entry.name) > unwanted.length(entry.name):
                files.append(path)
            elif not unwanted.length(entry.name):
                passed[str(path)] = OTHER_KIND
    return FoundFiles(sorted(files), passed)


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder holds, by name.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from error


class _Endings:
    """Ends of names.

    Args:
        endings: The ends, lower case.
    """

    def __init__(self, endings: Sequence[str]) -> None:
        self._endings = tuple(sorted(endings, key=len, reverse=True))

    def length(self, name: str) -> int:
        """Length of the longest that a name has; 0: it has none of them."""
        name = name.lower()
        return next((len(ending) for ending in self._endings if name.endswith(ending)), 0)


def _identity(folder: Path) -> tuple[int, int]:
    """What is the same for a folder and all links to it."""
    try:
        status = folder.stat()
    except OSError as error:
        raise _unreadable(folder, error) from error
    return status.st_dev, status.st_ino


def is_hidden(name: str) -> bool:
    """Whether a name is that of a file or folder that people do not see."""
    return name.startswith(".") or name.lower() in _SYSTEM


def _kind(entry: os.DirEntry[str]) -> str:
    """file, folder or link to a folder; or why it is none of them."""
    if is_hidden(entry.name):
        return HIDDEN
    try:
        if entry.is_file():
            return "file"
        if entry.is_dir():
            return "link to a folder" if entry.is_symlink() else "folder"
    except PermissionError as error:
        raise _unreadable(Path(entry.path), error) from error
    except OSError:
        # A link that leads to itself.
        return BROKEN_LINK
    return BROKEN_LINK if entry.is_symlink() else NO_FILE


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: unreadable ({error.strerror}), expected a folder that this user may read; give the rights to it")
