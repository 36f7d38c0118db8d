"""Dictionaries of numbers in .npy files: what NumPy writes is read, anything else is refused, and nothing in a file is ever run."""

from __future__ import annotations

import builtins
import importlib
import io
import os
import pickle
import pickletools
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.errors import TableError
from search_spaces.fasterseg.npy_dict import MAX_BYTES, parse_npy_dict, read_npy_dict

PROTOCOLS = (2, 3, 4, 5)


def npy(pickled: bytes, *, version: tuple[int, int] = (1, 0), header: str | None = None) -> bytes:
    """A file with a pickle of our choice behind the header of one Python object."""
    text = (header or "{'descr': '|O', 'fortran_order': False, 'shape': (), }          ") + "\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text.encode("latin-1") + pickled


def saved(content: Any, *, protocol: int = 4) -> bytes:
    """What `np.save` writes, in a pickle protocol of our choice."""
    return npy(pickle.dumps(np.array(content, dtype=object), protocol=protocol))


def numbers(count: int, kind: type = float) -> dict[str, Any]:
    return {f"layer_H{i}_W{2 * i}_Cin{3 * i}": kind(0.125 + i / 7) for i in range(count)}


GOOD = saved({**numbers(5), **{"np": np.float64(2.5), "other": np.float64(0.75)}}, protocol=3)


WAYS_TO_RUN = [
    (pickle, "load"),
    (pickle, "loads"),
    (pickle, "Unpickler"),
    (pickle, "_Unpickler"),
    (np, "load"),
    (np.lib.format, "read_array"),
    (np._core.multiarray, "_reconstruct"),
    (importlib, "import_module"),
    (builtins, "eval"),
    (builtins, "exec"),
    (os, "system"),
    (builtins, "__import__"),
]
"""Every way from a name in a file to an object or a call; the last is what the replacing itself needs."""


def read_watched(path: Path, read: Callable[[Path], dict[str, float]] = read_npy_dict) -> dict[str, float]:
    """Reads a file; fails if that unpickles, imports or calls something."""
    used: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in WAYS_TO_RUN:
            patch.setattr(owner, name, lambda *_, name=name, **__: used.append(name))
        try:
            return read(path)
        finally:
            patch.undo()
            assert used == []


def test_the_watch_sees_what_unpickling_does(tmp_path: Path) -> None:
    path = tmp_path / "table.npy"
    path.write_bytes(GOOD)
    with pytest.raises(AssertionError, match="loads"):
        read_watched(path, lambda path: pickle.loads(path.read_bytes()))


@pytest.mark.parametrize("kind", [float, np.float64])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("count", [0, 1, 2, 667, 2500])
def test_a_dictionary_of_numbers_is_read_in_every_protocol(kind: type, protocol: int, count: int) -> None:
    stated = numbers(count, kind)
    read = parse_npy_dict(saved(stated, protocol=protocol))
    assert read == stated
    assert all(type(value) is float for value in read.values())


def test_what_np_save_writes_is_read_in_order(tmp_path: Path) -> None:
    stated = {"b": 1.5, "a": np.float64(2.5), "é": 5e-324, "c": 1.7976931348623157e308}
    np.save(tmp_path / "table.npy", stated)  # type: ignore[arg-type]
    read = read_npy_dict(tmp_path / "table.npy")
    assert read == stated
    assert list(read) == list(stated)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_all_versions_of_the_header_are_read(version: tuple[int, int]) -> None:
    stated = numbers(3)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array(stated, dtype=object), version=version)
    assert parse_npy_dict(buffer.getvalue()) == stated


def test_names_of_numpy_1_are_read() -> None:
    stated = numbers(3, np.float64)
    old = saved(stated, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert parse_npy_dict(old) == stated


def test_numbers_whose_highest_byte_is_the_first_are_read() -> None:
    little = saved({"a": np.float64(1.1)}, protocol=3)
    number = struct.pack("<d", 1.1)
    assert little.count(number) == 1
    big = little.replace(number, number[::-1]).replace(b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00>")
    assert parse_npy_dict(big) == {"a": 1.1}


class Runs:
    """Calls `os.system` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


class Builds:
    """Sets attributes when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.dtype, ("f8", False, True), {"evil": 1}


FRAME = GOOD[GOOD.index(b"\n") + 1 :]
HOSTILE: dict[str, bytes] = {
    "calls a program": saved({"a": Runs()}, protocol=2),
    "calls a program in protocol 5": saved({"a": Runs()}, protocol=5),
    "is a call itself": npy(pickle.dumps(Runs())),
    "old-style call": npy(b"\x80\x02cos\nsystem\n(X\x05\x00\x00\x00touchtR."),
    "instance of a class": npy(b"\x80\x02(cos\nsystem\nX\x01\x00\x00\x00ai."),
    "INST": npy(b"(S'touch'\nios\nsystem\n."),
    "NEWOBJ": npy(b"\x80\x02cbuiltins\nobject\n)\x81."),
    "extension": npy(b"\x80\x02\x82\x01."),
    "persistent": npy(b"\x80\x02Pname\n."),
    "builtins": npy(b"\x80\x02cbuiltins\neval\n."),
    "name through the stack": npy(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93."),
    "dotted name": npy(b"\x80\x04\x8c\x05numpy\x8c\x0bndarray.dot\x93."),
    "name of a number": npy(b"\x80\x04K\x01K\x02\x93."),
    "builds attributes": saved({"a": Builds()}, protocol=3),
    "state for a name": npy(b"\x80\x02cnumpy\nndarray\n}b."),
    "call of a text": npy(b"\x80\x02X\x01\x00\x00\x00a)R."),
    "type of another kind": saved({"a": np.float32(1.5)}, protocol=3),
    "whole number": saved({"a": 1}),
    "truth": saved({"a": True}),
    "text as a value": saved({"a": "1.5"}),
    "key that is no text": saved({1: 1.5}),
    "dictionary in a dictionary": saved({"a": {"b": 1.5}}),
    "list": saved({"a": [1.5]}),
    "none": saved({"a": None}),
    "not a number": saved({"a": float("nan")}),
    "infinite": saved({"a": np.float64("inf")}),
    "zero": saved({"a": 0.0}),
    "negative": saved({"a": -1.5}),
    "no array around it": npy(pickle.dumps({"a": 1.5})),
    "array of one": npy(pickle.dumps(np.array([{"a": 1.5}], dtype=object))),
    "array of numbers": npy(pickle.dumps(np.array([1.5]))),
    "a text in the array": saved("text"),
    "key twice": npy(FRAME.replace(b"layer_H1_W2_Cin3", b"layer_H2_W4_Cin6")),
    "text behind the end": GOOD + b"x",
    "nothing behind the header": npy(b""),
    "end at once": npy(b"."),
    "nothing on the stack": npy(b"\x80\x02R."),
    "lacks a mark": npy(b"\x80\x02}u."),
    "recalls what is not there": npy(b"\x80\x02h\x07."),
    "duplicates": npy(b"\x80\x02}2."),
    "pops": npy(b"\x80\x02}0."),
    "half of a text": npy(b"\x80\x04\x8c\x01\xff."),
    "protocol 0": npy(pickle.dumps(np.array({"a": 1.5}, dtype=object), protocol=0)),
    "protocol 9": npy(b"\x80\x09}."),
    "huge text": npy(b"\x80\x02X\xff\xff\xff\x7f" + b"a" * 100),
    "huge text of 8 bytes": npy(b"\x80\x04\x8d" + b"\xff" * 8 + b"a"),
    "huge bytes": npy(b"\x80\x03B\xff\xff\xff\xff" + b"a" * 100),
    "huge frame": npy(b"\x80\x04\x95" + b"\xff" * 8 + b"}"),
    "huge whole number": npy(b"\x80\x02\x8b\xff\xff\xff\x7f" + b"\x01" * 100),
    "digits": npy(b"I" + b"9" * 100_000 + b"\n."),
    "text without an end": npy(b"\x80\x02c" + b"a" * 100_000),
    "huge place to remember": npy(b"\x80\x02}r\xff\xff\xff\xff" * 1000),
    "deep tuples": npy(b"\x80\x02)" + b"\x85" * 1_000_000),
    "deep lists": npy(b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b"."),
    "deep marks": npy(b"\x80\x02" + b"(" * 1_000_000),
    "many dictionaries": npy(b"\x80\x02" + b"}" * 3_000_000),
    "remembers without end": npy(b"\x80\x04}" + b"\x94" * 3_000_000),
    "recalls without end": npy(b"\x80\x02}q\x00" + b"h\x00" * 2_000_000),
    "tuples that double": npy(b"\x80\x04)" + b"\x94h\x00\x86" * 500_000),
    "one entry again and again": npy(b"\x80\x02}(" + b"X\x01\x00\x00\x00aG?\xf0\x00\x00\x00\x00\x00\x00" * 200_000 + b"u."),
}
HEADERS: dict[str, bytes] = {
    "no file of NumPy": b"PK\x03\x04" + GOOD[4:],
    "empty": b"",
    "magic alone": GOOD[:6],
    "version 0.0": npy(FRAME, version=(0, 0)),
    "version 4.0": npy(FRAME, version=(4, 0)),
    "version 1.1": GOOD[:7] + b"\x01" + GOOD[8:],
    "header longer than the file": GOOD[:8] + b"\xff\x03" + GOOD[10:],
    "header of 4 GB": npy(FRAME, version=(2, 0))[:8] + b"\xff\xff\xff\xff" + GOOD[10:],
    "header of no bytes": GOOD[:8] + b"\0\0" + GOOD[10:],
    **{
        f"header {header}": npy(FRAME, header=header)
        for header in (
            "{'descr': '<f8', 'fortran_order': False, 'shape': (), }",
            "{'descr': '|O', 'fortran_order': True, 'shape': (), }",
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '|O', 'fortran_order': False, 'shape': (), 'more': 1}",
            "{'descr': '|O', 'fortran_order': False, 'shape': exit(), }",
            "[" * 900,
        )
    },
}


@pytest.mark.parametrize("name", [*HOSTILE, *HEADERS])
def test_any_other_file_is_refused_in_one_line_quickly_and_runs_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / "table.npy"
    path.write_bytes({**HOSTILE, **HEADERS}[name])
    started = time.process_time()
    try:
        read_watched(path)
    except TableError as error:
        message = str(error)
    else:
        pytest.fail("it was accepted")
    assert time.process_time() - started < 5
    assert message.startswith(f"{path}: got ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 400
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["huge text", "deep tuples", "many dictionaries", "remembers without end", "recalls without end"])
def test_a_bomb_takes_no_more_memory_than_a_few_times_its_size(name: str) -> None:
    content = HOSTILE[name]
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="got"):
            parse_npy_dict(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def test_a_file_above_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.npy"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    with pytest.raises(TableError, match=f"got {MAX_BYTES + 1} bytes"):
        read_npy_dict(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        read_npy_dict(tmp_path / "table.npy")


def test_every_truncation_is_refused() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(ValueError, match="got"):
            parse_npy_dict(GOOD[:length])


def mutated(draw: random.Random, content: bytes, opcodes: list[int]) -> bytes:
    """A few bytes changed, inserted, dropped or doubled, more often where an opcode stands."""
    changed = bytearray(content)
    for _ in range(draw.randrange(1, 4)):
        place = draw.choice(opcodes) if draw.random() < 0.5 else draw.randrange(len(changed))
        place = min(place, len(changed) - 1)
        piece = bytes(changed[place : place + draw.randrange(1, 12)])
        new = draw.choice(
            [b"", piece * 2, bytes([draw.randrange(256)]), draw.choice([b"R", b"b", b"}", b"(", b"h\0", b"u", b"\x94"])]
        )
        changed[place : place + draw.choice([0, 1, len(piece)])] = new
    return bytes(changed)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mutated_files_give_numbers_or_a_refusal(protocol: int, tmp_path: Path) -> None:
    content = GOODS[protocol]
    start = content.index(b"\n") + 1
    opcodes = [start + position for position in OPCODES_OF[protocol]]
    draw = random.Random(protocol)
    path = tmp_path / "table.npy"
    refusals = []
    for _ in range(600):
        path.write_bytes(mutated(draw, content, opcodes))
        try:
            read = read_watched(path)
        except TableError as error:
            refusals.append(str(error))
        else:
            for key, value in read.items():
                assert (type(key), type(value)) == (str, float)
                assert 0 < value < float("inf")
    assert 300 < len(refusals) < 600
    assert not any("\n" in message for message in refusals)


GOODS = {protocol: saved({**numbers(4), "x": np.float64(2.5), "y": np.float64(0.5)}, protocol=protocol) for protocol in PROTOCOLS}
OPCODES_OF = {
    protocol: [at or 0 for _, _, at in pickletools.genops(content[content.index(b"\n") + 1 :])]
    for protocol, content in GOODS.items()
}
