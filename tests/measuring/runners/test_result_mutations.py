"""Two thousand mutated results: each is refused in one line and changes nothing, or becomes a table of exactly what it states."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import random
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.cost.latency_table import LatencyTable, dump_table, parse_table
from nas.errors import ConfigError, TableError
from nas.measuring.runners.worker_result import import_result
from tests.measuring.runners.bundles import PLAN, measured, sealed
from tests.measuring.runners.children import in_child, tree

WRONG = [None, True, False, 0, 1, -1, -0.5, 1.5, 2.0, 7, 10**9, 10**400, 1e-12, 1e300, 5e-324, "", " ", "x", [], {}, [1], {"a": 1}]
CONSTANTS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"]
NAMES = ["device", "job", "timings", "key", "__proto__", "", "\u0000", "x" * 300]

Place = tuple[Any, ...]
Mutate = Callable[[dict[str, Any], random.Random], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return measured(tmp_path_factory.mktemp("worker") / "run")


def without_operation(raw: dict[str, Any], number: int) -> dict[str, Any]:
    """The same measurement without one operation, which is not the reference."""
    less = copy.deepcopy(raw)
    assert less["job"]["reference"] != number
    del less["job"]["operations"][number]
    del less["graphs"][number]
    less["job"]["planned"] -= 1
    less["job"]["reference"] -= less["job"]["reference"] > number
    less["timings"] = [[op - (op > number), *rest] for op, *rest in less["timings"] if op != number]
    return less


def at(raw: Any, place: Place) -> Any:
    for name in place:
        raw = raw[name]
    return raw


def places(raw: Any, place: Place = ()) -> Iterator[Place]:
    """The place of every value but the whole, the outermost first."""
    children = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    for name, child in children:
        yield (*place, name)
        yield from places(child, (*place, name))


def any_place(raw: dict[str, Any], draw: random.Random) -> Place:
    """A place at a random depth: timings are many, so that they would be nearly all of an even draw."""
    everywhere = [place for place in places(raw) if place != ("checksum",)]
    few = [place for place in everywhere if place[0] != "timings"]
    return draw.choice(draw.choice([everywhere, few]))


def deleted(raw: dict[str, Any], draw: random.Random) -> None:
    place = any_place(raw, draw)
    del at(raw, place[:-1])[place[-1]]


def wrong_value(raw: dict[str, Any], draw: random.Random) -> None:
    place = any_place(raw, draw)
    at(raw, place[:-1])[place[-1]] = copy.deepcopy(draw.choice(WRONG))


def renamed(raw: dict[str, Any], draw: random.Random) -> None:
    place = draw.choice([place for place in places(raw) if isinstance(place[-1], str) and place != ("checksum",)])
    around = at(raw, place[:-1])
    around[draw.choice(NAMES)] = around.pop(place[-1])


def swapped(raw: dict[str, Any], draw: random.Random) -> None:
    one, other = any_place(raw, draw), any_place(raw, draw)
    if one != other[: len(one)] and other != one[: len(other)]:
        first, second = at(raw, one), at(raw, other)
        at(raw, one[:-1])[one[-1]], at(raw, other[:-1])[other[-1]] = second, first


def scaled_number(raw: dict[str, Any], draw: random.Random) -> None:
    numbers = [place for place in places(raw) if type(at(raw, place)) in (int, float)]
    place = draw.choice(numbers)
    at(raw, place[:-1])[place[-1]] *= draw.choice([-1, 0, 0.5, 1.0, 2, 3, 1e-9, 1e9, 1e200, 1e-200])


def timing_twice(raw: dict[str, Any], draw: random.Random) -> None:
    raw["timings"].insert(draw.randrange(len(raw["timings"])), list(draw.choice(raw["timings"])))


def timings_lost(raw: dict[str, Any], draw: random.Random) -> None:
    first = draw.randrange(len(raw["timings"]))
    del raw["timings"][first : first + draw.randrange(1, 12)]


def round_lost(raw: dict[str, Any], draw: random.Random) -> None:
    lost = draw.randrange(6)
    raw["timings"] = [timing for timing in raw["timings"] if timing[1] != lost]


def shuffled(raw: dict[str, Any], draw: random.Random) -> None:
    draw.shuffle(raw[draw.choice(["timings"])])


def other_reference(raw: dict[str, Any], draw: random.Random) -> None:
    number = draw.randrange(-1, 7)
    if draw.random() < 0.5:
        raw["job"]["reference"] = number
    if draw.random() < 0.7:
        for timing in raw["timings"]:
            timing[0] = number if timing[4] and draw.random() < 0.9 else timing[0]


def other_operations(raw: dict[str, Any], draw: random.Random) -> None:
    listed = raw["job"]["operations"]
    change = draw.randrange(4)
    if change == 0:
        listed.append({**listed[0], "key": listed[0]["key"].replace("in=8x", "in=24x")})
    elif change == 1:
        listed[draw.randrange(len(listed))]["key"] = draw.choice(
            ["none in=8x9x11 out=8x9x11 k=1 s=1 d=1 g=1", "../x", listed[0]["key"]]
        )
    elif change == 2:
        raw["job"]["planned"] += draw.choice([-2, -1, 1])
    else:
        draw.shuffle(listed)


def as_many_rounds(raw: dict[str, Any], draw: random.Random) -> None:
    name = draw.choice(["rounds", "program_rounds"])
    raw["job"]["protocol"][name] = [draw.choice([0, 1, 2, 5, 7, 10**6]), draw.choice([0, 1, 3, 6, 7, 200, 201, 10**9])]


MUTATIONS: list[Mutate] = [
    deleted,
    wrong_value,
    renamed,
    swapped,
    scaled_number,
    timing_twice,
    timings_lost,
    round_lost,
    shuffled,
    other_reference,
    other_operations,
    as_many_rounds,
]


def with_constant(raw: dict[str, Any], draw: random.Random) -> str:
    place = any_place(raw, draw)
    at(raw, place[:-1])[place[-1]] = "@@"
    return sealed(raw).replace('"@@"', draw.choice(CONSTANTS))


def meaningful(good: dict[str, Any], draw: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """Mutated values, with a checksum that fits them."""
    for number in range(count):
        raw = copy.deepcopy(good)
        if number % 10 == 9:
            yield f"{number} constant", with_constant(raw, draw).encode()
            continue
        chosen = [MUTATIONS[number % len(MUTATIONS)], *([draw.choice(MUTATIONS)] if draw.random() < 0.2 else [])]
        for mutate in chosen:
            if raw.keys() >= good.keys() and isinstance(raw["timings"], list):
                try:
                    mutate(raw, draw)
                except (LookupError, TypeError, AttributeError, ValueError, OverflowError):
                    assert mutate is not chosen[0]  # what the first one left is no result that the second one could change
        yield f"{number} {', '.join(mutate.__name__ for mutate in chosen)}", sealed(raw).encode()


def damaged(good: dict[str, Any], draw: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """Damaged bytes, with the checksum as it was."""
    text = json.dumps(good).encode()
    for number in range(count):
        content = bytearray(text)
        change = number % 5
        place, length = draw.randrange(len(text)), draw.randrange(1, 40)
        if change == 0:
            content[place] ^= 1 << draw.randrange(8)
        elif change == 1:
            del content[place:]
        elif change == 2:
            content[place:place] = draw.choice([b"\x00", b"\xff", b"\xf0\x9f\x98\x80", b"0", b"9", b'"', b"]", b",", b"e5", b" 1"])
        elif change == 3:
            del content[place : place + length]
        else:
            content[place:place] = content[place : place + length]
        yield f"{number} damaged {change} at {place}", bytes(content)


def check_table(table: LatencyTable, content: bytes, old: LatencyTable | None) -> None:
    """The table holds what was there, and the planned operations with all of their samples."""
    raw = json.loads(content)
    listed = [one["key"] for one in raw["job"]["operations"]]
    counts = Counter(listed[timing[0]] for timing in raw["timings"] if not timing[4])
    before = {} if old is None else dict(old.entries)
    planned = listed[: raw["job"]["planned"]]
    assert set(table.entries) == {*planned, *before}
    assert set(counts) == set(planned)
    fewest = raw["job"]["protocol"]["program_rounds" if raw["device"]["is_program"] else "rounds"][0]
    for key in planned:
        entry = table.entries[key]
        if key in before:
            assert entry == before[key]
        else:
            assert entry.n == counts[key] >= fewest
            assert all(math.isfinite(ms) for ms in (entry.p10_ms, entry.median_ms, entry.p90_ms))
    text = dump_table(table)
    assert parse_table(text) == table


def one_mutation(content: bytes, old: LatencyTable | None, before: dict[str, Any]) -> bool:
    """Imports it in the working folder, where it leaves nothing in the end; whether it became a table."""
    try:
        profile = import_result(Path("result.json")).profile
    except (TableError, ConfigError) as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert 20 < len(message) < 1200
        assert message.isprintable()  # hence one line
        assert tree(Path("latency_tables")) == before
        return False
    written = parse_table(profile.path.read_text())
    assert written == profile.table
    is_other = str(profile.path.relative_to("latency_tables")) not in before
    check_table(written, content, None if is_other else old)
    changed = {name for name, there in tree(Path("latency_tables")).items() if there is not None and there != before.get(name)}
    assert changed <= {str(profile.path.relative_to("latency_tables"))}
    if is_other:
        profile.path.unlink()
        if not any(profile.path.parent.iterdir()):
            profile.path.parent.rmdir()
    return True


@pytest.mark.parametrize(
    ("has_table", "count"), [(False, 150), (True, 150), *(pytest.param(one, 500, marks=pytest.mark.slow) for one in (False, True))]
)
def test_every_mutation_is_refused_and_changes_nothing_or_gives_exactly_what_it_states(
    good: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    has_table: bool,
    count: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)  # 1,000 tables: whether the disk has them is not the question here
    caplog.set_level(logging.ERROR)
    Path("latency_tables").mkdir()
    old, path, text = None, Path(), ""
    if has_table:
        Path("result.json").write_text(sealed(without_operation(good, 3)))
        imported = import_result(Path("result.json")).profile
        old, path, text = imported.table, imported.path, imported.path.read_text()
    before = tree(Path("latency_tables"))
    draw = random.Random(7 + has_table)
    accepted = {"meaningful": 0, "damaged": 0}
    for kind, made in [("meaningful", meaningful(good, draw, count)), ("damaged", damaged(good, draw, count))]:
        for name, content in made:
            Path("result.json").write_bytes(content)
            try:
                became_table = one_mutation(content, old, before)
                assert kind == "meaningful" or not became_table or json.loads(content) == good  # a blank more, a zero more
                accepted[kind] += became_table
            except BaseException as error:
                error.add_note(f"mutation {name}")
                raise
            if has_table:
                path.write_text(text)
    assert accepted["damaged"] < 10
    assert 0 < accepted["meaningful"] < 200


def test_the_result_that_is_mutated_is_imported_whole(
    good: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = json.dumps(good).encode()
    Path("result.json").write_bytes(content)
    assert sealed(good).encode() == content
    profile = import_result(Path("result.json")).profile
    check_table(profile.table, content, None)
    again = import_result(Path("result.json")).profile
    assert (again.measured, again.table) == ((), profile.table)


def import_from(source: Path, out: Path) -> Callable[[], object]:
    return lambda: import_result(source, out=str(out))


def dying_at(line: int, function: Callable[[], object]) -> Callable[[], object]:
    """The function in a process that is killed (-9) when it comes to the line of that number, counted as it runs."""
    left = line

    def on_event(frame: Any, event: str, argument: object) -> Any:
        nonlocal left
        del argument
        left -= event == "line"
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return on_event if "nas" in frame.f_code.co_filename or "json" in frame.f_code.co_filename else None

    def run() -> object:
        sys.settrace(on_event)
        return function()

    return run


@pytest.fixture
def extending(good: dict[str, Any], tmp_path: Path) -> tuple[Path, Path, bytes, bytes]:
    """A result, a table that it extends, and what the table's file holds before and after."""
    source, out = tmp_path / "result.json", tmp_path / "tables" / "table.json"
    source.write_text(sealed(without_operation(good, 3)))
    import_result(source, out=str(out))
    old = out.read_bytes()
    source.write_text(sealed(good))
    import_result(source, out=str(out))
    new = out.read_bytes()
    out.write_bytes(old)
    assert old != new
    return source, out, old, new


def test_a_killed_import_leaves_the_old_table_or_the_new_one(extending: tuple[Path, Path, bytes, bytes]) -> None:
    source, out, old, new = extending
    lines = 0

    def count(frame: Any, event: str, argument: object) -> Any:
        nonlocal lines
        del frame, argument
        lines += event == "line"
        return count

    sys.settrace(count)
    try:
        import_result(source, out=str(out))
    finally:
        sys.settrace(None)
    draw = random.Random(3)
    moments = sorted({*draw.sample(range(1, lines), 6), *range(1, lines, lines // 12)})
    seen = set()
    for moment in moments:
        out.write_bytes(old)
        ended = in_child(dying_at(moment, import_from(source, out)))
        assert ended.kind in {"killed", "done"}
        assert out.read_bytes() in (old, new)
        seen.add(ended.kind)
    assert "killed" in seen
    out.write_bytes(old)
    assert in_child(import_from(source, out)).kind == "done"
    assert out.read_bytes() == new


def test_a_full_disk_leaves_the_old_table_and_says_so(extending: tuple[Path, Path, bytes, bytes]) -> None:
    source, out, old, new = extending
    for room in [0, 1, len(old) // 2, len(old), len(new) - 1]:
        ended = in_child(import_from(source, out), most_bytes=room)
        assert (ended.kind, "\n" in ended.message) == ("ConfigError", False)
        assert str(out) in ended.message
        assert re.search(r"cannot be written( there)? \(File too large\); (make room, or )?give another out=", ended.message), ended
        assert tree(out.parent) == {out.name: old}
    assert in_child(import_from(source, out), most_bytes=len(new)).kind == "done"
    assert tree(out.parent) == {out.name: new}


def test_a_reference_that_was_not_to_be_measured_is_none_of_the_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = measured(tmp_path / "run", plan=PLAN[:2], reference=PLAN[3])
    monkeypatch.chdir(tmp_path)
    content = json.dumps(raw)
    Path("result.json").write_text(content)
    table = import_result(Path("result.json")).profile.table
    check_table(table, content.encode(), None)
    assert table.reference is not None
    assert table.reference.key == PLAN[3].key not in table.entries
    raw["timings"].append([raw["job"]["reference"], 0, 1.0, 1, False])
    Path("result.json").write_text(sealed(raw))
    with pytest.raises(TableError, match="expected none of an operation that is the reference only"):
        import_result(Path("result.json"))
