"""Lists of files: how their lines are read, whatever wrote them.

A line is an image and a mask, or one name. Between the two stands a tab, a comma, a semicolon or spaces; names may hold
spaces and commas too. So each way to read a line is tried against the files that are there, and one must remain.
"""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nas.data.files.file_walk import entries_of
from nas.data.files.pairs import FoundPairs, FramePair
from nas.data.files.passed_over import COMMENT, PassedOver
from nas.errors import DataError
from nas.files.regular_file import read_regular

MAX_LINE = 10_000
"""Most characters of a line, two of the longest paths: each gap in it may be the one between an image and its mask."""
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
"""First bytes that tell the encoding; without, it is UTF-8."""
_SEPARATORS = (re.compile(r" *\t\s*"), re.compile(r"\s*[,;]\s*"), re.compile(r"\s+"))
"""What stands between two fields; where there is a tab, nothing else does."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a list that is not blank.

    Args:
        where: FILE:NUMBER.
        text: The line without spaces at its ends.
    """

    where: str
    text: str

    @property
    def fields(self) -> list[str]:
        """The fields as the strongest separator in it divides them."""
        separator = next((pattern for pattern in _SEPARATORS if pattern.search(self.text)), _SEPARATORS[0])
        return [_unquoted(field) for field in separator.split(self.text)]

    def halves(self) -> list[tuple[str, str]]:
        """Every way to read it as two fields."""
        patterns = _SEPARATORS[:1] if "\t" in self.text else _SEPARATORS[1:]
        cuts = dict.fromkeys((cut.start(), cut.end()) for pattern in patterns for cut in pattern.finditer(self.text))
        halves = ((_unquoted(self.text[:start]), _unquoted(self.text[end:])) for start, end in cuts)
        return list(dict.fromkeys(half for half in halves if all(half)))


def _unquoted(field: str) -> str:
    return field[1:-1] if len(field) > 2 and field[0] == field[-1] == '"' else field


def read_lines(list_file: Path, *, form: str) -> list[Line]:
    """The lines of a list that are not blank.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        data = read_regular(list_file)
        encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
        text = data.decode(encoding)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{list_file}: unreadable ({error}), expected lines {form}; restore it") from error
    if "\0" in text:
        raise DataError(f"{list_file}: unreadable (it holds null bytes), expected lines {form} in UTF-8; save it as UTF-8")
    numbered = enumerate(re.split(r"\r\n|\r|\n", text), start=1)
    lines = [Line(f"{list_file}:{number}", line.strip()) for number, line in numbered if line.strip()]
    if long := next((line for line in lines if len(line.text) > MAX_LINE), None):
        raise DataError(f"{long.where}: got {len(long.text)} characters, expected lines {form}, of at most {MAX_LINE} characters")
    return lines


def listed_pairs(
    list_file: Path,
    *,
    form: str,
    readings: Callable[[Line], Iterable[FramePair]],
    fault: Callable[[Line], str],
) -> FoundPairs:
    """The pairs that a list names, in its order, and its comments: lines that begin with # and name no file.

    Args:
        list_file: The list.
        form: What its lines may be, in words.
        readings: The pairs of files that are there that a line may mean.
        fault: What is wrong with a line that means none.

    Raises:
        DataError: If a line means no pair or more than one, or an image or a mask comes twice.
    """
    lines = read_lines(list_file, form=form)
    pairs: list[FramePair] = []
    comments: dict[str, str] = {}
    taken: dict[Path, str] = {}
    for line in lines:
        found = {(pair.image, pair.label): pair for pair in readings(line)}
        if not found and line.text.startswith("#"):
            comments[line.where] = COMMENT
            continue
        if not found:
            raise DataError(fault(line))
        if len(found) > 1:
            ways = " and as ".join(f"{image} with {mask}" for image, mask in found)
            raise DataError(f"{line.where}: can be read as {ways}, expected one way; put a tab between image and mask")
        for path in next(iter(found)):
            if path is not None and path in taken:
                raise DataError(f"{line.where}: {path} is in {taken[path]} too, expected each file once; correct or remove a line")
            if path is not None:
                taken[path] = line.where
        pairs.append(next(iter(found.values())))
    if not pairs:
        raise DataError(f"{list_file}: lists no image, expected lines {form}; restore it or remove the file")
    return FoundPairs(pairs, PassedOver.of(comments))


class ExistingFiles:
    """Looks paths up on disk, with the ends of names in any case, as folders are read without lists."""

    def __init__(self) -> None:
        self._folder = cache(_by_folded_name)

    def first(self, candidates: Sequence[Path], ending: str | None = None) -> Path | None:
        """The first of some paths that is a file; None: none is.

        Args:
            candidates: The paths.
            ending: End of the name of which the case does not matter; None: the extension.
        """
        for path in candidates:
            if os.path.isfile(path):  # noqa: PTH113 - a name may be too long to be one
                return path
        for path in candidates:
            length = len(path.suffix if ending is None else ending)
            alike = self._folder(path.parent, length).get(_folded(path.name, length), [])
            if len(alike) == 1:
                return path.parent / alike[0]
        return None


def _folded(name: str, length: int) -> str:
    """A name with its last characters in small letters, and its letters composed."""
    start = len(name) - length
    return unicodedata.normalize("NFC", name[:start] + name[start:].lower())


def _by_folded_name(folder: Path, length: int) -> dict[str, list[str]]:
    """Names of the files of a folder by their folded names."""
    found: dict[str, list[str]] = {}
    if os.path.isdir(folder):  # noqa: PTH112 - as above
        for entry in entries_of(folder):
            found.setdefault(_folded(entry.name, length), []).append(entry.name)
    return found


def spellings(field: str) -> list[str]:
    """A path as it stands, and with the slashes of Windows turned."""
    return [field, field.replace("\\", "/")] if "\\" in field else [field]
