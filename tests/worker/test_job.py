"""The archive of graphs beside a job, torn or made by others, is one line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from nas.worker.interface import Operation, WorkerError
from nas.worker.job import GRAPHS_FILE, Graphs

OPERATION = Operation("key", "0000.onnx", [("x", (1,))], (1,), "float32")


def test_a_graph_is_unpacked_and_removed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / GRAPHS_FILE, "w") as archive:
        archive.writestr("0000.onnx", b"graph")
    graphs = Graphs(str(tmp_path))
    unpacked = graphs.unpack(OPERATION)
    assert Path(unpacked.path).read_bytes() == b"graph"
    graphs.remove(unpacked)
    assert not Path(unpacked.path).exists()


@pytest.mark.parametrize(("place", "value"), [("encrypted", 1), ("method", 97)])
def test_an_archive_that_cannot_be_unpacked_is_one_line(place: str, value: int, tmp_path: Path) -> None:
    path = tmp_path / GRAPHS_FILE
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0000.onnx", b"graph")
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # flags; the method follows them
        content[content.index(mark) + offset + (2 if place == "method" else 0)] = value
    path.write_bytes(content)
    with pytest.raises(WorkerError, match=r"0000\.onnx is broken; copy the bundle again"):
        Graphs(str(tmp_path)).unpack(OPERATION)
