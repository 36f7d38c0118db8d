"""Results that want to harm: nothing is written elsewhere, nothing runs, memory and time stay small, terminals stay as they are."""

from __future__ import annotations

import copy
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.cost.latency_table import dump_table, parse_table, read_table
from nas.errors import TableError, UserError
from nas.measuring.runners.worker_result import MAX_BYTES, import_result
from tests.measuring.runners.bundles import changed, measured, refused, sealed
from tests.measuring.runners.children import in_child, tree

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
    "stra\u00dfe",
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


def test_operations_without_a_graph_are_told_and_stand_in_the_table(
    good: dict[str, Any], work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    raw = copy.deepcopy(good)
    raw["device"] |= {"sample_clock": "gpu-time", "cuda_graphs": True, "is_program": False}
    raw["without_graph"] = [0, 2]
    keys = [one["key"] for one in raw["job"]["operations"]]
    Path("result.json").write_text(sealed(raw))
    profile = import_result(Path("result.json"), out="table.json").profile
    table = read_table(Path("table.json"))
    assert (table.protocol.clock, table.protocol.cuda_graphs) == ("gpu-time", True)
    assert {key for key in keys if table.entries[key].cuda_graph is False} == {keys[0], keys[2]}
    assert all(table.entries[key].cuda_graph for key in keys if key not in (keys[0], keys[2]))
    told = f"without a CUDA graph: 2 of {len(keys)} operations cannot be captured"
    assert any(line.startswith(told) for line in profile.summary())
    assert told in caplog.text


def test_what_an_earlier_worker_did_with_trtexec_is_stated_as_what_it_was(good: dict[str, Any], work: Path) -> None:
    raw = copy.deepcopy(good)
    for name in ("sample_clock", "cuda_graphs"):
        del raw["device"][name]
    del raw["without_graph"]
    raw["device"]["is_program"] = True
    raw["job"]["protocol"]["program_rounds"] = raw["job"]["protocol"]["rounds"]
    Path("result.json").write_text(sealed(raw))
    import_result(Path("result.json"), out="table.json")
    protocol = read_table(Path("table.json")).protocol
    assert protocol.statistic.endswith("a sample is the median of its calls")
    assert (protocol.clock, protocol.cuda_graphs) == (None, None)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("without_graph",), [99]),
        (("without_graph",), [-1]),
        (("without_graph",), [True]),
        (("without_graph",), ["0"]),
        (("without_graph",), None),
        (("device", "sample_clock"), "sundial"),
        (("device", "sample_clock"), ["wall"]),
        (("device", "cuda_graphs"), "yes"),
    ],
)
def test_a_clock_or_graphs_that_no_worker_states_are_refused(
    good: dict[str, Any], work: Path, place: tuple[str, ...], value: object
) -> None:
    assert place[-1] in refused(changed(good, *place, to=value))


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
        if event.startswith(FORBIDDEN) and event != "socket.gethostname":  # the lock of a table names this machine
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
