"""The archive of graphs: each is the one that the job states, or nothing is measured; nothing hostile in it costs much."""

from __future__ import annotations

import hashlib
import os
import resource
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.worker.graph_archive import GRAPHS_FILE, Graphs, StatedGraph, archive_digest
from nas.worker.interface import Operation, WorkerError

CONTENT = {"0000.onnx": b"first graph" * 100, "0001.pt": b"second graph"}
STATED = {name: StatedGraph(hashlib.sha256(content).hexdigest(), len(content)) for name, content in CONTENT.items()}


def operation(name: str) -> Operation:
    return Operation("key", name, [], (1,), "float32")


def pack(folder: Path, members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / GRAPHS_FILE
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_whole_graphs_are_checked_and_unpacked_one_at_a_time(tmp_path: Path) -> None:
    pack(tmp_path, {**CONTENT, "/absolute": b"x", "../up": b"x", "more": b"x"})
    graphs = Graphs(str(tmp_path), STATED)
    assert graphs.check() == {name: stated.sha256 for name, stated in STATED.items()}
    for name, content in CONTENT.items():
        unpacked = graphs.unpack(operation(name))
        assert Path(unpacked.path).read_bytes() == content
        assert Path(unpacked.path).suffix == Path(name).suffix
        graphs.remove(unpacked)
    assert [path.name for path in tmp_path.iterdir()] == [GRAPHS_FILE]
    assert not (tmp_path.parent / "up").exists()


def other_bytes(folder: Path) -> None:
    pack(folder, {**CONTENT, "0001.pt": b"second grapf"})


def swapped(folder: Path) -> None:
    pack(folder, dict(zip(CONTENT, reversed(CONTENT.values()), strict=True)))


def missing(folder: Path) -> None:
    pack(folder, {"0000.onnx": CONTENT["0000.onnx"]})


def bomb(folder: Path) -> None:
    pack(folder, {**CONTENT, "0001.pt": bytes(100_000_000)})


def lying_bomb(folder: Path) -> None:
    """A member that unpacks to far more than it says."""
    path = pack(folder, {**CONTENT, "0001.pt": bytes(100_000_000)})
    true, lie = (size.to_bytes(4, "little") for size in (100_000_000, len(CONTENT["0001.pt"])))
    content = path.read_bytes()
    assert content.count(true) == 2
    path.write_bytes(content.replace(true, lie))


def encrypted(folder: Path) -> None:
    path = pack(folder, CONTENT)
    content = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + place] |= 1
            start = content.find(signature, start + 4)
    path.write_bytes(content)


def twice(folder: Path) -> None:
    with zipfile.ZipFile(folder / GRAPHS_FILE, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in [*CONTENT.items(), ("0001.pt", b"other")]:
            archive.writestr(name, content)


def other_method(folder: Path) -> None:
    pack(folder, CONTENT, method=zipfile.ZIP_LZMA)


def pipe(folder: Path) -> None:
    os.mkfifo(folder / GRAPHS_FILE)


HOSTILE: dict[Callable[[Path], None], str] = {
    other_bytes: "0001.pt has the SHA-256 .*, expected .* as the job states, so another operation would be measured; unpack",
    swapped: "0000.onnx has 12 bytes, expected 1,100 as the job states",
    missing: "0001.pt is missing; unpack the whole bundle again",
    bomb: "0001.pt has 100,000,000 bytes, expected 12",
    lying_bomb: "0001.pt is broken .*; unpack the whole bundle again",
    encrypted: "0000.onnx is broken .packed in a way that no bundle is.",
    twice: "got an archive with a name twice",
    other_method: "0000.onnx is broken .packed in a way",
    pipe: "got no archive of graphs .got no regular file.",
}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_another_archive_is_refused_before_anything_is_measured(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WorkerError, match=HOSTILE[make]) as caught:
        Graphs(str(tmp_path), STATED).check()
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert [path.name for path in tmp_path.iterdir()] == [GRAPHS_FILE]


def test_a_graph_that_is_replaced_in_mid_run_is_refused_and_not_left_behind(tmp_path: Path) -> None:
    large = b"second graph" * 10_000  # more than what is read ahead
    path = pack(tmp_path, {"0001.pt": large}, method=zipfile.ZIP_STORED)
    graphs = Graphs(str(tmp_path), {"0001.pt": StatedGraph(hashlib.sha256(large).hexdigest(), len(large))})
    graphs.check()
    with path.open("r+b") as file:
        file.seek(path.read_bytes().index(b"second graph"))
        file.write(b"another" * 10_000)
    with pytest.raises(WorkerError, match=r"0001\.pt"):
        graphs.unpack(operation("0001.pt"))
    assert [path.name for path in tmp_path.iterdir()] == [GRAPHS_FILE]


def test_a_link_in_place_of_the_unpacked_graph_is_not_written_through(tmp_path: Path) -> None:
    folder, precious = tmp_path / "folder", tmp_path / "precious"
    folder.mkdir()
    precious.write_text("mine")
    pack(folder, CONTENT)
    (folder / "graph.pt").symlink_to(precious)
    with pytest.raises(WorkerError, match=r"graph\.pt: cannot be written"):
        Graphs(str(folder), STATED).unpack(operation("0001.pt"))
    assert precious.read_text() == "mine"


def test_no_part_of_a_graph_is_left_on_a_full_disk(tmp_path: Path) -> None:
    pack(tmp_path, CONTENT)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    graphs = Graphs(str(tmp_path), STATED)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        with pytest.raises(WorkerError, match=r"graph\.onnx: cannot be written \(File too large\); make room in"):
            graphs.unpack(operation("0000.onnx"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == [GRAPHS_FILE]


def test_the_digest_of_an_archive_is_that_of_its_bytes(tmp_path: Path) -> None:
    assert archive_digest(str(tmp_path)) is None
    path = pack(tmp_path, CONTENT)
    assert archive_digest(str(tmp_path)) == hashlib.sha256(path.read_bytes()).hexdigest()
