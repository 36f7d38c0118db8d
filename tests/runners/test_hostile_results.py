"""Results that want to harm: nothing is written elsewhere, nothing runs, memory and time stay small, terminals stay as they are."""

from __future__ import annotations

import copy
import json
import logging
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.cost.latency_table import dump_table, parse_table, read_table
from nas.errors import ConfigError, TableError, UserError
from nas.runners.importing import MAX_BYTES, import_result
from nas.worker.drift import Timing
from nas.worker.rounds import Rounds, half_widths, unstable
from tests.runners.bundles import measured, sealed
from tests.runners.children import in_child, tree

MEMORY_MB, SECONDS = 600, 30
NAMES = [
    "../up",
    "../../../../tmp/up",
    "/absolute",
    "a/b",
    "..",
    ".",
    "",
    " ",
    "nul\0byte",
    "line\nbreak",
    "\x1b[31mred",
    "x" * 101,
    "x" * 1_000_000,
    "-rf",
    "~root",
    "$(touch pwned)",
    "caf\u00e9",
    "\u0661",
    "\ud800",
    "box\n",
    "Box",
    "con:",
    "a\\b",
]
SHELL = "'; touch pwned; __import__('os').system('touch pwned') #`touch pwned`$(touch pwned)"
PICKLE = "cos\nsystem\n(S'touch pwned'\ntR."


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return measured(tmp_path_factory.mktemp("worker") / "run")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """A working folder, in a folder where nothing else may change."""
    caplog.set_level(logging.ERROR)
    folder = tmp_path / "around" / "work"
    folder.mkdir(parents=True)
    (tmp_path / "around" / "precious.json").write_text("mine")
    monkeypatch.chdir(folder)
    return folder


def changed(good: dict[str, Any], *place: Any, to: Any) -> str:
    raw = copy.deepcopy(good)
    at = raw
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = to
    return sealed(raw)


def refused(text: str | bytes) -> str:
    Path("result.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((TableError, ConfigError)) as caught:
        import_result(Path("result.json"))
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1200
    return message


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:20])
def test_no_name_of_a_device_leads_out_of_the_tables_folder(good: dict[str, Any], work: Path, name: str) -> None:
    before = tree(work.parent)
    refused(changed(good, "job", "device", to=name))
    refused(changed(good, "device", "name", to=name))
    (work / "result.json").unlink()
    assert tree(work.parent) == before


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:20])
def test_no_name_of_a_runtime_leads_out_of_the_tables_folder(good: dict[str, Any], work: Path, name: str) -> None:
    before = tree(work.parent)
    for field in ("backend", "precision"):
        refused(changed(good, "job", "runtime", field, to=name))
    refused(changed(good, "job", "runtime", "batch", to=f"1/../../{name}"))
    refused(changed(good, "job", "accelerator", to=name))
    (work / "result.json").unlink()
    assert tree(work.parent) == before


@pytest.mark.parametrize(
    "key",
    [
        "../../x",
        "none in=8x9x11 out=8x9x11 k=1 s=1 d=1 g=1",
        "abacus in=8x9x11 out=8x9x11 k=1 s=1 d=1 g=1",
        "add in=8x9x11 out=8x9x11 k=1 s=1 d=1 g=1\n",
        "add in=08x9x11 out=8x9x11 k=1 s=1 d=1 g=1",
        "add in=\u0668x9x11 out=8x9x11 k=1 s=1 d=1 g=1",
        "add in=8x9x11 out=8x9x0 k=1 s=1 d=1 g=1",
        "add in=8x9x11 out=8x9x11 k=1 s=1 d=1 g=1 e=1",
        f"add in={'9' * 5000}x9x11 out=8x9x11 k=1 s=1 d=1 g=1",
        f"{'a' * 1_000_000} in=8x9x11 out=8x9x11 k=1 s=1 d=1 g=1",
        "__proto__",
        SHELL,
    ],
    ids=lambda key: repr(key)[:20],
)
def test_a_key_that_is_no_operation_is_refused(good: dict[str, Any], work: Path, key: str) -> None:
    refused(changed(good, "job", "operations", 0, "key", to=key))
    assert [path.name for path in work.iterdir()] == ["result.json"]


def test_texts_of_the_device_reach_table_and_terminal_without_what_steers_one(good: dict[str, Any], work: Path) -> None:
    evil = "\x1b]0;title\x07\x1b[2J\r\n\x9b31m\u202e\ud800\x00end"
    raw = copy.deepcopy(good)
    raw["device"]["facts"] = {"os": evil, evil: "fact", "__proto__": SHELL, "constructor": PICKLE, "power_mode": evil}
    raw["device"]["details"] = {evil: evil}
    raw["device"]["version"] = evil
    raw["throttled"] = [evil, " " * 5000 + "hot", "y" * 100_000]
    for when in ("before", "after"):
        raw[when] = {"clocks": evil, "temperatures": " " * 3000 + evil}
    raw["job"]["id"] = evil
    raw["job"]["operations"][0]["graph"] = evil
    Path("result.json").write_text(sealed(raw))
    import_result(Path("result.json"), out="table.json")
    text = (work / "table.json").read_text()
    table = parse_table(text)
    said = json.loads(text)
    assert all(one.isprintable() for one in texts_in(said))
    assert max(map(len, texts_in(said))) <= 300
    assert table.system["__proto__"].startswith("'; touch pwned")
    assert len(table.throttled) == 3
    assert dump_table(table) == text


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from texts_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_in(one)


def test_the_command_prints_no_control_characters_of_a_result(good: dict[str, Any], run_nas: Callable[..., Any]) -> None:
    evil = "\x1b[2J\r\x9b31m\u202e\ud800"
    raw = copy.deepcopy(good)
    raw["throttled"], raw["device"]["version"] = [f"hot{evil}"], f"1{evil}"
    Path("result.json").write_text(sealed(raw))
    done = run_nas("profile", "import", "file=result.json", "out=table.json")
    assert done.status == 0
    assert "hot?[2J" in done.out
    for place, to in [(("device", "name"), evil), (("job", "runtime", "backend"), evil), (("device", "facts"), {"a": [evil]})]:
        Path("result.json").write_text(changed(good, *place, to=to))
        wrong = run_nas("profile", "import", "file=result.json", "out=other.json")
        assert (wrong.status, len(wrong.err_lines)) == (2, 1)
        done = done if done.out else wrong
        assert all(char.isprintable() or char == "\n" for char in wrong.out + wrong.err)
    assert all(char.isprintable() or char == "\n" for char in done.out + done.err)
    assert not Path("other.json").exists()


def test_a_link_in_place_of_the_table_is_not_followed(good: dict[str, Any], work: Path) -> None:
    Path("result.json").write_text(json.dumps(good))
    profile = import_result(Path("result.json")).profile
    text = profile.path.read_text()
    outside = work.parent / "outside.json"
    for content in (None, "mine", text):
        profile.path.unlink()
        if content is not None:
            outside.write_text(content)
        profile.path.symlink_to(outside)
        if content == "mine":
            with pytest.raises(TableError):
                import_result(Path("result.json"))
        else:
            import_result(Path("result.json"))
            assert read_table(profile.path) == profile.table
        assert (outside.read_text() if outside.exists() else None) == content
    assert (work.parent / "precious.json").read_text() == "mine"


@pytest.mark.parametrize("kind", ["pipe", "zeros", "input", "folder", "endless", "nowhere", "loop"])
def test_what_is_no_file_of_fit_size_is_refused_at_once(work: Path, kind: str) -> None:
    path = work / "result.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zeros":
        path.symlink_to("/dev/zero")
    elif kind == "input":
        path.symlink_to("/dev/stdin")
    elif kind == "folder":
        path.mkdir()
    elif kind == "endless":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    elif kind == "loop":
        path.symlink_to(path)
    ended = in_child(lambda: import_result(path), more_memory=1 << 30, timeout=20)
    assert ended.kind == "TableError", ended
    assert ended.message.startswith(f"{path}: ")
    assert ended.grown_mb < 2 * MAX_BYTES / 1e6 + 50


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


def test_memory_and_time_stay_small_whatever_a_file_holds(good: dict[str, Any], work: Path) -> None:
    path = Path("result.json")
    for name, make in hostile(good).items():
        content = make()
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


FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "pickle.find_class",
    "socket.",
    "compile",
    "exec",
)


def watched(folder: Path, function: Callable[[], object]) -> Callable[[], object]:
    """The function in a process that raises where it runs code, talks to others or writes outside of a folder."""

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(FORBIDDEN):
            raise AssertionError(f"{event}: {arguments!r:.200}")
        writes = event in {"os.rename", "os.remove", "os.mkdir", "os.symlink", "os.link", "os.truncate"}
        if event == "open":
            writes = isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if writes and isinstance(arguments[0], str | os.PathLike) and folder not in Path(arguments[0]).absolute().parents:
            raise AssertionError(f"{event}: {arguments!r:.200}")

    def run() -> object:
        sys.addaudithook(look)
        return function()

    return run


def test_nothing_in_a_result_is_run_or_written_outside_of_the_working_folder(good: dict[str, Any], work: Path) -> None:
    Path("result.json").write_text(json.dumps(good))
    import_result(Path("result.json"), out="first.json")  # what has to be imported is from now on
    before = {name: content for name, content in tree(work.parent).items() if name != "work/result.json"}
    for text in (
        SHELL,
        PICKLE,
        "${jndi:ldap://localhost/a}",
        "!!python/object/apply:os.system ['touch pwned']",
        "{0.__class__}",
        "%n%s",
    ):
        raw = copy.deepcopy(good)
        raw["device"].update(facts={text: text, "os": text}, details={"a": text}, version=text)
        raw["job"]["operations"][0].update(graph=text, output_type=text, inputs=[[text, [1]]])
        raw["job"]["id"], raw["throttled"] = text, [text]
        Path("result.json").write_text(sealed(raw))
        ended = in_child(watched(work, lambda: import_result(Path("result.json"), out="latency_tables/box.json")))
        assert (ended.kind, ended.message) == ("done", "")
        table = read_table(Path("latency_tables/box.json"))
        assert table.throttled == (text.replace("\n", "?"),)
        for path in Path("latency_tables").iterdir():
            path.unlink()
        Path("latency_tables").rmdir()
        Path("result.json").write_text(changed(good, "device", "name", to=text))
        assert in_child(watched(work, lambda: import_result(Path("result.json")))).kind == "ConfigError"
        assert {name: content for name, content in tree(work.parent).items() if name != "work/result.json"} == before


def test_the_watch_would_notice(work: Path) -> None:
    for function in (lambda: os.system("true"), lambda: eval("1"), lambda: (work.parent / "x").write_text("x")):
        assert in_child(watched(work, function)).kind == "AssertionError"
    assert isinstance(TableError("x"), UserError)
