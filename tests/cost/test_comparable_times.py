"""Times of tables say what they are, also those of versions that did not state their clock; they are compared with their like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nas.cost import LatencyTable, MacsTable, Origin
from nas.cost.comparable_times import graphs_in_words, not_comparable, times_in_words
from nas.devices.this_machine import DeviceInfo
from nas.measuring.effort import FORMER_PROGRAM_STATISTIC, STATISTIC
from tests.cost.simulated_table import table_of
from tests.simulated_device import conv


def table(backend: str, clock: str | None, *, statistic: str = STATISTIC, device: str = "box", **protocol: Any) -> LatencyTable:
    made = table_of({conv(channels): 1.0 for channels in (8, 16, 24)}, backend=backend)
    stated = replace(made.protocol, statistic=statistic, clock=clock, **protocol)
    return replace(made, protocol=stated, device=DeviceInfo(name=device))


def without_graph(made: LatencyTable, count: int) -> LatencyTable:
    entries = {key: replace(entry, cuda_graph=i >= count) for i, (key, entry) in enumerate(made.entries.items())}
    return replace(made, entries=entries)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (table("onnxruntime", "wall"), "mean of calls by wall"),
        (table("onnxruntime", None), "mean of calls by wall"),
        (table("tensorrt", None, statistic=FORMER_PROGRAM_STATISTIC), "median of calls by gpu-time"),
        (table("tensorrt", None), "mean of calls by cuda-events"),
        (table("torch-eager", None), "mean of calls by wall (cuda-events on a GPU)"),
        (table("another", None), "mean of calls by a clock not stated"),
        (table("torch-eager", "cuda-events", cuda_graphs=False), "mean of calls by cuda-events, no CUDA graphs"),
        (table("tensorrt", "gpu-time", cuda_graphs=True), "mean of calls by gpu-time, CUDA graphs"),
        (
            without_graph(table("tensorrt", "gpu-time", cuda_graphs=True), 1),
            "mean of calls by gpu-time, CUDA graphs but for 1 of 3",
        ),
        (without_graph(table("tensorrt", "gpu-time", cuda_graphs=True), 3), "mean of calls by gpu-time, no CUDA graphs"),
        (table("tensorrt", None, statistic="median"), "calls by a clock not stated"),
        (replace(table("tensorrt", None, statistic="published"), origin=Origin(kind="published", source="paper")), "published"),
        (replace(table("tensorrt", None), origin=Origin(kind="estimated", source="model")), "estimated"),
    ],
)
def test_a_table_says_what_its_times_are(made: LatencyTable, words: str) -> None:
    assert times_in_words(made) == words


def test_nothing_is_said_of_graphs_where_nothing_runs_on_a_gpu() -> None:
    assert graphs_in_words(table("onnxruntime", "wall")) is None


def test_tables_of_two_kinds_of_times_are_named_with_their_differences() -> None:
    program = table("tensorrt", "gpu-time", device="board", cuda_graphs=True)
    former = table("tensorrt", None, device="older", statistic=FORMER_PROGRAM_STATISTIC)
    host = table("onnxruntime", "wall", device="server", cuda_graphs=False)
    assert not_comparable([program, host]) == (
        "board/tensorrt-fp32-b1-t1 and server/onnxruntime-fp32-b1-t1 hold times of two kinds (clock gpu-time against wall, CUDA "
        "graphs used against not used): each is right for its own target, but a difference between the two is not that of the "
        "devices alone"
    )
    assert "(statistic mean against median)" in str(not_comparable([MacsTable(), program, former]))


def test_nothing_speaks_against_tables_of_one_kind() -> None:
    one, two = table("onnxruntime", "wall", device="one"), table("torch-eager", "wall", device="two")
    unknown = table("torch-compile", None, device="three")
    published = replace(table("tensorrt", "gpu-time"), origin=Origin(kind="published", source="paper"))
    assert not_comparable([one, two, unknown, published, MacsTable()]) is None
