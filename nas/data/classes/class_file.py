"""The classes of a user's own data set, stated in a YAML file.

```yaml
classes:
  - {name: road, id: 7, palette: [128, 64, 128]}   # stored id, and the colour to draw it in (optional)
  - {name: vehicle, ids: [26, 27, 28]}             # several stored ids make one class
ignore: [0, 255]                                   # stored ids that are void; left out: 255
```

For masks of RGB colours, `colour: [128, 64, 128]` or `colours: [...]` takes the place of `id` and `ids`, here and in
`ignore`; `color` and `colors` are the same. An entry that is only a name has its place in the list, from 0, as its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.data.camvid import CAMVID_CODE
from nas.data.cityscapes import CITYSCAPES_CODE
from nas.data.classes.cityscapes_labels import CITYSCAPES, TRAIN_IDS
from nas.data.classes.class_set import CAMVID, MAX_CLASSES, ClassSet, Colour, class_set, distinct_colours
from nas.data.dataset import IGNORE_INDEX
from nas.data.files.label_code import ColourCode, IdCode, LabelCode
from nas.errors import DataError
from nas.files.plain_yaml import MAX_BYTES, parse_plain_yaml
from nas.files.regular_file import read_regular
from nas.files.shortening import shorten

_STORED = ("id", "ids", "colour", "colours")
_SPELLING = {"color": "colour", "colors": "colours"}

Stored = int | Colour
"""Value of a class in a mask."""


@dataclass(frozen=True, slots=True)
class CodedClasses:
    """Classes, and how masks store them."""

    classes: ClassSet
    code: LabelCode


KNOWN_CLASSES: dict[str, CodedClasses] = {
    "cityscapes": CodedClasses(CITYSCAPES, CITYSCAPES_CODE),
    "cityscapes_train_ids": CodedClasses(
        CITYSCAPES,
        IdCode(classes=TRAIN_IDS, expected="0-18, or 255 (void)", fix="if it holds label ids, set data.classes=cityscapes"),
    ),
    "camvid": CodedClasses(CAMVID, CAMVID_CODE),
}
"""Classes that need no file, by name."""


def load_classes(path: Path) -> CodedClasses:
    """The classes that a file states.

    Raises:
        DataError: One line with the file, the entry and what was expected.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: got more than {MAX_BYTES} bytes, expected a YAML file of classes; set data.classes to one")
        data = parse_plain_yaml(read_regular(path, MAX_BYTES + 1).decode("utf-8-sig")).data
    except FileNotFoundError as error:
        names = ", ".join(KNOWN_CLASSES)
        raise DataError(
            f"{path}: no such file, expected a YAML file of classes; write one, or set data.classes to it or to one of {names}"
        ) from error
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}; expected a YAML file of classes") from error
    try:
        return _coded_classes(data, path)
    except _FileError as fault:
        raise DataError(f"{path}: {fault}") from None


class _FileError(ValueError):
    """A defect of a file of classes, without its path."""


def _coded_classes(data: Any, path: Path) -> CodedClasses:
    if not isinstance(data, dict) or not isinstance(data.get("classes"), list) or not data["classes"]:
        raise _FileError(f"got {shorten(data)}, expected a mapping with the list classes, and perhaps ignore")
    strange = [key for key in data if key not in ("classes", "ignore")]
    if strange:
        raise _FileError(f"unknown key {strange[0]!r}, expected classes and ignore; remove it")
    entries = [_entry(entry, index) for index, entry in enumerate(data["classes"])]
    if len(entries) > MAX_CLASSES:
        raise _FileError(f"got {len(entries)} classes, expected at most {MAX_CLASSES}; merge some with ids: or colours:")
    _refuse_repeats([name for name, _, _ in entries], "the name")
    code = _code(entries, data.get("ignore"), path)
    if len(entries) == 1:
        raise _FileError(_one_class(entries[0], data.get("ignore")))
    return CodedClasses(class_set([name for name, _, _ in entries], _palette(entries), path), code)


def _one_class(entry: Entry, ignore: Any) -> str:
    """What is wrong with a file that states one class, of which a network learns nothing but to say it everywhere."""
    name, stored, _ = entry
    by_id = isinstance(stored[0], int)
    free = next(value for level in range(256) if (value := level if by_id else (level, level, level)) not in stored)
    background = f"id: {free}" if isinstance(free, int) else f"colour: {list(free)}"
    ignored = isinstance(ignore, list) and (free if isinstance(free, int) else list(free)) in ignore
    release = ", and take that out of ignore" if ignored else ""
    return (
        f"got one class, {name}, expected at least two: what is not {name} is a class, too; "
        f"add - {{name: background, {background}}} with what the masks hold there{release}"
    )


Entry = tuple[str, list[Stored], Colour | None]
"""Name of a class, what stands for it in masks, and the colour it is drawn in, if stated."""


def _entry(entry: Any, index: int) -> Entry:
    """One entry of the list."""
    where = f"classes: entry {index + 1}"
    if isinstance(entry, str):
        return entry, [index], None
    if not isinstance(entry, dict):
        raise _FileError(f"{where}: got {shorten(entry)}, expected a name or a mapping with name and {', '.join(_STORED)}")
    entry = {_SPELLING.get(key, key): value for key, value in entry.items()}
    strange = [key for key in entry if key not in ("name", "palette", *_STORED)]
    if strange:
        raise _FileError(f"{where}: unknown key {strange[0]!r}, expected name, palette and one of {', '.join(_STORED)}")
    if not isinstance(entry.get("name"), str) or not entry["name"].strip():
        raise _FileError(
            f"{where}: got the name {shorten(entry.get('name'))}, expected a text, in quotes if it looks like a number"
        )
    where = f"{where} ({entry['name']})"
    given = [key for key in _STORED if key in entry]
    if len(given) != 1:
        raise _FileError(
            f"{where}: got {' and '.join(given) or 'nothing'} for what masks store, expected one of {', '.join(_STORED)}"
        )
    stored = _stored(entry, given[0], where)
    palette = _colour(entry["palette"], f"{where}: palette") if "palette" in entry else None
    if palette is None and not isinstance(stored[0], int):
        palette = stored[0]
    return entry["name"], stored, palette


def _stored(entry: Mapping[str, Any], key: str, where: str) -> list[Stored]:
    """Values of a class in masks."""
    values = entry[key] if key.endswith("s") else [entry[key]]
    if not isinstance(values, list) or not values:
        raise _FileError(f"{where}: {key}: got {shorten(values)}, expected a list with at least one entry")
    read = _id if key.startswith("id") else _colour
    return [read(value, f"{where}: {key}") for value in values]


def _code(entries: list[Entry], ignore: Any, path: Path) -> LabelCode:
    """The table from what masks store to class ids."""
    stored = [value for _, values, _ in entries for value in values]
    by_id = isinstance(stored[0], int)
    if any(isinstance(value, int) != by_id for value in stored):
        raise _FileError("classes: got ids for some classes and colours for others, expected the same for all")
    if ignore is None:
        void: list[Stored] = [IGNORE_INDEX] if by_id and IGNORE_INDEX not in stored else []
    elif not isinstance(ignore, list):
        raise _FileError(f"ignore: got {shorten(ignore)}, expected a list of {'ids' if by_id else 'colours'}")
    else:
        void = [_id(value, "ignore") if by_id else _colour(value, "ignore") for value in ignore]
    _refuse_repeats([*stored, *void], "the id" if by_id else "the colour")
    table = {value: index for index, (_, values, _) in enumerate(entries) for value in values}
    table |= dict.fromkeys(void, IGNORE_INDEX)
    fix = f"add it to a class or to ignore: in {path}, or correct the mask"
    if by_id:
        ids = {key: value for key, value in table.items() if isinstance(key, int)}
        return IdCode(classes=ids, expected=_ranges(sorted(ids)), fix=fix)
    return ColourCode(classes={key: value for key, value in table.items() if not isinstance(key, int)}, fix=fix)


def _palette(entries: list[Entry]) -> list[Colour]:
    """A distinct colour for each class: the one stated, or a free one."""
    stated = [colour for _, _, colour in entries if colour is not None]
    _refuse_repeats(stated, "the palette colour")
    free = iter(distinct_colours(len(entries), stated))
    return [next(free) if colour is None else colour for _, _, colour in entries]


def _refuse_repeats(values: list[Any], what: str) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise _FileError(f"got {what} {value!r} twice, expected it once; change or remove one")
        seen.add(value)


def _id(value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value <= 255:
        raise _FileError(f"{where}: got {shorten(value)}, expected an id from 0 to 255")
    return value


def _colour(value: Any, where: str) -> Colour:
    if not isinstance(value, list) or len(value) != 3 or any(type(part) is not int or not 0 <= part <= 255 for part in value):
        raise _FileError(f"{where}: got {shorten(value)}, expected a colour [R, G, B], each from 0 to 255")
    return value[0], value[1], value[2]


def _ranges(ids: list[int]) -> str:
    """Sorted ids in words.

    >>> _ranges([0, 1, 2, 7, 255])
    '0-2, 7, 255'
    """
    runs: list[list[int]] = []
    for value in ids:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
