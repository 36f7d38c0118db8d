"""Results that want to exhaust memory or time, and measurements so long that they might."""

from __future__ import annotations

import copy
import json
import logging
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.measuring.runners.worker_result import MAX_BYTES, import_result
from nas.worker.drift import Timing
from nas.worker.rounds import Rounds, half_widths, unstable
from tests.measuring.runners.bundles import changed, measured, refused, sealed
from tests.measuring.runners.children import in_child

MEMORY_MB, SECONDS = 600, 30


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return measured(tmp_path_factory.mktemp("worker") / "run")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """A working folder."""
    caplog.set_level(logging.ERROR)
    folder = tmp_path / "around" / "work"
    folder.mkdir(parents=True)
    (tmp_path / "around" / "precious.json").write_text("mine")
    monkeypatch.chdir(folder)
    return folder


def filled(good: dict[str, Any], place: tuple[Any, ...], item: str) -> Callable[[], str]:
    """A result that is as large as one may be through one value; its checksum is that of another one."""

    def text() -> str:
        marked = changed(good, *place, to="@@")
        count = (MAX_BYTES - len(marked) - 10) // (len(item) + 1)
        return marked.replace('"@@"', "[" + ",".join([item] * count) + "]")

    return text


def many_names(good: dict[str, Any], place: tuple[Any, ...], count: int) -> Callable[[], str]:
    return lambda: changed(good, *place, to={f"n{number}": "1" for number in range(count)})


def energies(good: dict[str, Any]) -> str:
    """Many operations and many more energies: a comparison of each with each would take hours."""
    raw = copy.deepcopy(good)
    one = raw["job"]["operations"][0]
    keys = [f"add in={number}x9x11 out={number}x9x11 k=1 s=1 d=1 g=1" for number in range(1, 15_001)]
    raw["job"]["operations"] = [{**one, "key": key, "inputs": [], "output": []} for key in keys]
    raw["graphs"] = [one["sha256"]] * len(keys)
    raw["job"].update(planned=len(keys), reference=0, energy=True, protocol={"rounds": [1, 1], "program_rounds": [1, 1], "ci": 0.5})
    raw["timings"] = [[0, 0, 1.0, 1, True], *([number, 0, 1.0, 1, False] for number in range(len(keys)))]
    raw["energy"] = {"source": "x", "idle_w": 1.0, "mj": {f"x{number}": 1 for number in range(400_000)}}
    return sealed(raw)


def late_reference(good: dict[str, Any]) -> str:
    """Many operations before the first timing of the reference, and then many of those."""
    raw = json.loads(energies({**good}))
    raw["energy"] = None
    raw["timings"] = [*raw["timings"][1:], *([0, 0, 1.0, 1, True] for _ in range(80_000))]
    return sealed(raw)


def hostile(good: dict[str, Any]) -> dict[str, Callable[[], str | bytes]]:
    text = json.dumps(good)
    return {
        "brackets": lambda: "[" * 100_000 + "]" * 100_000,
        "braces": lambda: '{"a":' * 100_000 + "1" + "}" * 100_000,
        "brackets inside": lambda: changed(good, "timings", to="@@").replace('"@@"', "[" * 100_000 + "]" * 100_000),
        "digits": lambda: changed(good, "finished_at", to="@@").replace('"@@"', "9" * 1_000_000),
        "digits of a fraction": lambda: changed(good, "timings", 0, 2, to="@@").replace('"@@"', "0." + "3" * 1_000_000),
        "digits of a round": lambda: changed(good, "timings", 0, 1, to=10**4000),
        "exponent": lambda: changed(good, "finished_at", to="@@").replace('"@@"', "1e" + "9" * 1_000_000),
        "lists": filled(good, ("timings",), "[]"),
        "small objects": filled(good, ("job", "operations"), '{"":0}'),
        "texts": filled(good, ("throttled",), '"ab"'),
        "facts": many_names(good, ("device", "facts"), 300_000),
        "timings": lambda: changed(good, "timings", to=[good["timings"][0]] * 100_001),
        "operations": lambda: changed(good, "job", "operations", to=[good["job"]["operations"][0]] * 20_001),
        "huge text": lambda: changed(good, "device", "version", to="\u00e9" * (MAX_BYTES // 6 - len(text))),
        "huge name": lambda: changed(good, "device", "facts", to={"x" * (MAX_BYTES - len(text) - 100): 1}),
        "energies": lambda: energies(good),
        "late reference": lambda: late_reference(good),
        "zeros": lambda: bytes(MAX_BYTES),
        "blanks": lambda: " " * MAX_BYTES,
        "one byte too many": lambda: text + " " * (MAX_BYTES + 1 - len(text)),
    }


QUICK = {"brackets", "digits", "lists", "facts", "huge text", "late reference", "zeros"}
"""Files of one kind each."""


@pytest.mark.parametrize("some", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_memory_and_time_stay_small_whatever_a_file_holds(good: dict[str, Any], work: Path, *, some: bool) -> None:
    path = Path("result.json")
    made = hostile(good)
    assert set(made) > QUICK
    for name in QUICK if some else made:
        content = made[name]()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert path.stat().st_size <= MAX_BYTES + 1, name
        del content
        ended = in_child(lambda: import_result(path), more_memory=3 << 29, timeout=2 * SECONDS)
        assert ended.kind in ({"TableError", "done"} if name == "huge text" else {"TableError"}), (name, ended)
        assert ended.message.isprintable(), name
        assert len(ended.message) < 1200, name
        assert ended.grown_mb < MEMORY_MB, (name, ended)
        assert ended.seconds < SECONDS, (name, ended)
        if ended.kind == "done":
            shutil.rmtree("latency_tables")
        assert not Path("latency_tables").exists(), name


def test_nesting_at_the_edge_of_what_python_bears_is_refused_in_one_line(good: dict[str, Any], work: Path) -> None:
    del work
    limit = sys.getrecursionlimit()
    for depth in [*range(limit - 120, limit + 10, 7), limit // 2]:
        for place in [("timings",), ("job", "operations"), ("device", "facts"), ("started_at",)]:
            refused(changed(good, *place, to="@@").replace('"@@"', "[" * depth + "]" * depth))
        refused('{"a":' * depth + "1" + "}" * depth)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rounds", [1, 201]),
        ("rounds", [1, 10**9]),
        ("rounds", [10**9, 10**9]),
        ("program_rounds", [1, 10**9]),
        ("rounds", [0, 6]),
        ("rounds", [6, 5]),
        ("rounds", [1.0, 6]),
        ("rounds", [4, 6, 8]),
        ("ci", 0),
        ("ci", 1),
        ("ci", -1e-300),
        ("ci", 10**400),
    ],
)
def test_efforts_beyond_those_of_the_worker_are_refused(good: dict[str, Any], work: Path, field: str, value: Any) -> None:
    del work
    refused(changed(good, "job", "protocol", field, to=value))


def long_measurement(good: dict[str, Any], operations: int, rounds: int) -> dict[str, Any]:
    """As many noisy timings as can be, none of them good enough for the effort that it states."""
    raw = copy.deepcopy(good)
    one, draw = raw["job"]["operations"][0], random.Random(1)
    keys = [f"add in={number}x9x11 out={number}x9x11 k=1 s=1 d=1 g=1" for number in range(1, operations + 1)]
    raw["job"]["operations"] = [{**one, "key": key} for key in keys]
    raw["graphs"] = [one["sha256"]] * len(keys)
    raw["job"].update(planned=operations, reference=0)
    raw["job"]["protocol"] = {"rounds": [1, rounds], "program_rounds": [1, rounds], "ci": 1e-9}
    raw["timings"] = []
    for index in range(rounds):
        for number in range(operations):
            if number % 4 == 0:
                raw["timings"].append([0, index, draw.uniform(0.9, 1.1), 1, True])
            raw["timings"].append([number, index, draw.uniform(0.9, 1.1), 1, False])
    return raw


def test_the_longest_measurement_takes_seconds_to_import(good: dict[str, Any], work: Path) -> None:
    del work
    raw = long_measurement(good, operations=120, rounds=200)
    Path("result.json").write_text(sealed(raw))
    ended = in_child(lambda: import_result(Path("result.json"), device="box"), timeout=2 * SECONDS)
    assert (ended.kind, ended.message) == ("done", "")
    assert ended.seconds < SECONDS
    assert ended.grown_mb < MEMORY_MB
    refused(sealed({**raw, "timings": raw["timings"] + [[0, 1, 1.0, 1, True]] * 7000}))


def test_what_is_not_stable_is_what_the_last_look_at_each_operation_said() -> None:
    """Against the rounds as they were run: an operation leaves when its interval is narrow enough, and has no more samples."""
    draw, rounds = random.Random(4), Rounds(4, 12, 0.05)
    noise = {f"op{number}": 0.004 * number for number in range(25)}
    timings: list[Timing] = []
    active = list(noise)
    for index in range(rounds.most):
        widths = half_widths(active, timings, before_round=index)
        active = [key for key in active if index < rounds.fewest or widths[key] > rounds.ci]
        for number, key in enumerate(active):
            if number % 4 == 0:
                timings.append(Timing("ref", index, draw.gauss(1, 0.01), 1, True))
            timings.append(Timing(key, index, draw.gauss(1, noise[key]), 1))
    widths = half_widths(active, timings, before_round=rounds.most)
    expected = [key for key in active if widths[key] > rounds.ci]
    assert 2 < len(expected) < 23
    assert unstable(list(noise), timings, rounds) == expected
