"""Operations that stay ready up to a size in memory."""

from __future__ import annotations

from nas.worker.interface import Operation, Run
from nas.worker.ready_operations import KEEP_BYTES, Kept, bytes_of_maps, memory_to_keep

BYTES = {"a": 60, "b": 50, "c": 40}


def test_what_fits_is_made_once_and_what_does_not_is_made_each_time() -> None:
    made: list[str] = []

    def make(key: str) -> tuple[Run, int]:
        made.append(key)
        return (lambda calls: float(calls)), BYTES[key]

    ready = Kept(make, keep_bytes=100)
    runs = {key: ready.take(key) for key in BYTES}
    assert made == ["a", "b", "c"]
    assert ready.take("a") is runs["a"]
    assert ready.take("c") is runs["c"]
    assert ready.take("b") is not runs["b"]
    assert made == ["a", "b", "c", "b"]


def test_maps_have_four_bytes_an_element() -> None:
    assert bytes_of_maps(Operation("a", "", [("x0", (1, 2, 3)), ("x1", (4,))], (5,), "float32")) == 4 * (6 + 4 + 5)


def test_some_memory_stays_free() -> None:
    assert 0 < memory_to_keep() <= KEEP_BYTES
