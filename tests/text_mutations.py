"""Bytes and texts changed by chance, from a seed."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nas.worker.result import checksum

MARK = "Q"
"""The character that endless texts repeat."""
TEXTS = (
    MARK * 200_000,
    MARK * 5_000,
    "a\x1b[2J\x1b]0;owned\x07b",
    "a\x00b\r\n\x85\u2028\u202ec",
    "<script>alert(1)</script>",
    "../../../../tmp/elsewhere",
    "/",
    "",
    " ",
    "nan",
    "2026-01-01",
    "1e999",
    "${oc.env:HOME}",
    "${hydra:runtime.cwd}",
    "\ud800",
)
NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"))
VALUES = (
    *NUMBERS,
    None,
    True,
    False,
    [],
    {},
    [[]],
    [0, 1],
    {"a": 1},
    [1e9, 1e9],
    list(range(3000)),
    {str(i): i for i in range(3000)},
)
RAW_JSON = ("1e999", "-Infinity", "NaN", "9" * 5_000, "9" * 300, "[" * 100_000, "[" * 900 + "]" * 900, '{"a":1,"a":2}', "01", "1_0")
RAW_YAML = (
    "1e999",
    ".inf",
    ".nan",
    "9" * 5_000,
    "0x" + "f" * 400,
    "0b11",
    "1:30:00",
    "1_000",
    "2026-01-01",
    "2026-01-01 00:00:00 +99:99",
    "!!python/object/apply:os.getcwd []",
    "!!binary aGFsbG8=",
    "!!timestamp x",
    "&a [*a, *a]",
    "*nobody",
    "&x 1",
    "[" * 2_000,
    "[" * 100 + "]" * 100,
    "{a: 1, a: 2}",
    "{? [a]: b}",
    "<<",
    "{<<: {a: 1}}",
    "=",
    "on",
    "%TAG",
    "'",
    "|\n  text",
    "\t",
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed file.

    Args:
        content: The bytes.
        what: What was done, in a word or two.
        is_wrong: Whether a command that takes it without a word is at fault.
    """

    content: bytes
    what: str
    is_wrong: bool = False


MOVES = ("double", "drop", "swap")


def _flips(raw: bytearray, chance: random.Random) -> bytearray:
    for _ in range(20):
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    return raw


def _flip(raw: bytearray, chance: random.Random) -> bytearray:
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    return raw


def _piece(raw: bytearray, chance: random.Random) -> slice:
    at = chance.randrange(len(raw))
    return slice(at, at + chance.choice((1, 4, 16, 300)))


def _put(raw: bytearray, piece: slice, new: bytes, *, after: int = 0) -> bytearray:
    return raw[: piece.start] + new + raw[piece.start + after :]


_ENDLESS = (b"\0", b" ", b"\n", b"[", b"9", MARK.encode(), b"\xff", b"- ", b"{")
_BYTES: Mapping[str, Callable[[bytearray, random.Random, slice], bytes | bytearray]] = {
    "flip": lambda raw, chance, _: _flip(raw, chance),
    "flips": lambda raw, chance, _: _flips(raw, chance),
    "cut": lambda raw, _, piece: raw[: piece.start],
    "insert": lambda raw, chance, piece: _put(raw, piece, chance.randbytes(piece.stop - piece.start)),
    "double": lambda raw, _, piece: _put(raw, piece, bytes(raw[piece])),
    "zeros": lambda raw, _, piece: _put(raw, piece, bytes(piece.stop - piece.start), after=piece.stop - piece.start),
    "drop": lambda raw, _, piece: _put(raw, piece, b"", after=piece.stop - piece.start),
    "empty": lambda _raw, _chance, _piece: b"",
    "huge": lambda raw, chance, piece: _put(raw, piece, chance.choice(_ENDLESS) * 300_000),
    "random": lambda _, chance, piece: chance.randbytes(1 + piece.start),
}


def of_bytes(content: bytes, chance: random.Random) -> Mutant:
    kind = chance.choice(list(_BYTES))
    raw = bytearray(content or b"\0")
    return Mutant(bytes(_BYTES[kind](raw, chance, _piece(raw, chance))), f"bytes {kind}")


def places_of(data: Any, above: tuple[Any, Any] = (None, None)) -> Iterator[tuple[Any, Any]]:
    """Every place of a value in nested data: what it lies in, and its key or position."""
    if above[0] is not None:
        yield above
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list | tuple) else ()
    for key, value in list(pairs):
        yield from places_of(value, (data, key))


def change(data: Any, chance: random.Random, raw: Callable[[], Any] | None = None) -> tuple[Any, str]:
    """Plain data with one place changed, and what was done."""
    data = copy.deepcopy(data)
    places = [place for place in places_of(data) if isinstance(place[0], dict | list)]
    # Places high up are as likely as those of long lists.
    holder, key = chance.choice(places if chance.random() < 0.5 else places[: max(1, len(places) // 8)])
    kind = chance.choice(("drop", "value", "value", "text", "raw" if raw else "text", "swap", "nest", "rename", "add", "type"))
    if kind == "drop":
        del holder[key]
    elif kind in ("value", "text"):
        holder[key] = chance.choice(VALUES if kind == "value" else TEXTS)
    elif kind == "raw" and raw is not None:
        holder[key] = raw()
    elif kind == "swap":
        other, at = chance.choice(places)
        value = other[at]
        other[at], holder[key] = holder[key], value
        data = _without_circles(data)
    elif kind == "nest":
        for _ in range(chance.choice((1, 3, 20, 500))):
            holder[key] = [holder[key]]
    elif kind in ("rename", "add") and isinstance(holder, dict):
        holder[chance.choice(("extra", *TEXTS))] = holder.pop(key) if kind == "rename" else chance.choice(VALUES)
    else:
        holder[key] = _other_type(holder[key], chance)
    return data, f"says {kind}"


def _other_type(value: Any, chance: random.Random) -> Any:
    return chance.choice((len(value), list(value))) if isinstance(value, str) else str(value)


def _without_circles(data: Any, above: tuple[int, ...] = ()) -> Any:
    if id(data) in above:
        return None
    if isinstance(data, dict):
        return {key: _without_circles(value, (*above, id(data))) for key, value in data.items()}
    return [_without_circles(value, (*above, id(data))) for value in data] if isinstance(data, list) else data


class Raws:
    """Text that stands in a file as it is, put in for a placeholder."""

    def __init__(self, chance: random.Random, texts: tuple[str, ...]) -> None:
        self.chance, self.texts, self.put = chance, texts, ""

    def __call__(self) -> str:
        self.put = self.chance.choice(self.texts)
        return "PLACEHOLDER"

    def fill(self, text: str) -> str:
        return text.replace('"PLACEHOLDER"', self.put).replace("PLACEHOLDER", self.put)


def json_mutant(path: Path, chance: random.Random) -> Mutant:
    raws = Raws(chance, RAW_JSON)
    data, what = change(json.loads(path.read_bytes()), chance, raws)
    if isinstance(data, dict) and "checksum" in data and chance.random() < 0.8:
        with contextlib.suppress(ValueError, RecursionError, UnicodeError):
            data["checksum"] = checksum(data)
    return Mutant(dumped(data, raws), what)


def dumped(data: Any, raws: Raws) -> bytes:
    try:
        return raws.fill(json.dumps(data, ensure_ascii=raws.chance.random() < 0.5)).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):  # 10**400
        return b"1" * 401


def move(lines: list[Any], at: int, kind: str, chance: random.Random) -> None:
    """Double or drop a line, or shuffle all of them."""
    if kind == "double":
        lines.insert(at, lines[at])
    elif kind == "drop":
        del lines[at]
    else:
        chance.shuffle(lines)


def json_lines_mutant(path: Path, chance: random.Random) -> Mutant:
    lines, raws = path.read_bytes().splitlines(), Raws(chance, RAW_JSON)
    at = chance.randrange(len(lines))
    kind = chance.choice(("row", "row", "row", "double", "drop", "swap", "scalar"))
    if kind == "row":
        data, kind = change(json.loads(lines[at]), chance, raws)
        lines[at] = dumped(data, raws).replace(b"\n", b" ")
    elif kind in MOVES:
        move(lines, at, kind, chance)
    else:
        lines[at] = chance.choice((b"1", b"null", b"[]", b'"a"', b"{}", b""))
    return Mutant(b"\n".join([*lines, b""]), f"lines {kind}")


def yaml_mutant(path: Path, chance: random.Random) -> Mutant:
    raws = Raws(chance, RAW_YAML)
    data, what = change(yaml.safe_load(path.read_bytes()), chance, raws)
    try:
        text = yaml.dump(data, sort_keys=False, allow_unicode=chance.random() < 0.5)
    except RecursionError:
        text = "[" * 5_000
    if chance.random() < 0.05:
        text, what = (
            "a: &a [x, x, x]\n"
            + "".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}' if i else '*a'] * 9)}]\n" for i in range(12))
            + text,
            "aliases",
        )
    return Mutant(raws.fill(text).encode("utf-8", "surrogatepass"), what)


def text_lines_mutant(path: Path, chance: random.Random) -> Mutant:
    lines = path.read_text(encoding="utf-8").splitlines()
    at = chance.randrange(len(lines))
    kind = chance.choice(("text", "double", "drop", "swap", "comma"))
    if kind == "text":
        lines[at] = chance.choice(TEXTS)
    elif kind in MOVES:
        move(lines, at, kind, chance)
    else:
        lines[at] = chance.choice((",", ",,,", "a,b,c", "\t", "#", lines[at] + "," + chance.choice(TEXTS)))
    return Mutant("\n".join([*lines, ""]).encode("utf-8", "surrogatepass"), f"lines {kind}")
