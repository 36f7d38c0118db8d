"""The texts of trtexec as data: every recorded sample, and what is left of them after accidents."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.worker.interface import WorkerError
from nas.worker.trtexec_output import (
    device_block,
    gpu_compute_median_ms,
    graph_fell_back,
    instability_limit,
    instability_percent,
    is_bound_by_enqueue,
    read_times,
    telling_line,
    trtexec_flags,
    trtexec_passed,
    trtexec_version,
)

SAMPLES = Path(__file__).parent / "samples"
LOGS = sorted(path.name for path in SAMPLES.glob("trtexec_v*.log"))
TIMES = sorted(path.name for path in SAMPLES.glob("trt*exportTimes*.json"))


def sample(name: str) -> str:
    return (SAMPLES / name).read_text()


# What a reader sees in each file: version, passed, median of GPU Compute, coefficient of variance, device block.
SEEN = {
    "trtexec_v71_jetson.log": (None, True, 55.2111, None, {}),
    "trtexec_v8201_nano.log": (
        "8.2.1",
        True,
        90.0183,
        None,
        {"gpu": "NVIDIA Tegra X1", "compute capability": "5.3", "multiprocessors": "1", "gpu memory": "3955 MiB"},
    ),
    "trtexec_v8400_agx_xavier.log": ("8.4.0", True, 0.388443, None, {}),
    "trtexec_v8601_tiny_unstable.log": ("8.6.1", True, 0.0166016, 29.0605, {}),
    "trtexec_v100800_options_fail.log": ("10.8.0", False, None, None, {}),
    "trtexec_v101000_perf_summary.log": ("10.10.0", True, 6.78809, 5.58977, {}),
    "trtexec_v101602_orin_device_block.log": (
        None,  # the part that was recorded has no banner
        False,
        None,
        None,
        {"gpu": "Orin", "compute capability": "8.7", "multiprocessors": "8", "gpu memory": "15536 MiB"},
    ),
}


def test_every_recorded_log_is_read():
    assert LOGS == sorted(SEEN)


@pytest.mark.parametrize("name", SEEN)
def test_a_recorded_log_says_what_a_reader_sees(name):
    log = sample(name)
    version, passed, median, variance, device = SEEN[name]
    assert trtexec_version(log) == version
    assert trtexec_passed(log) is passed
    assert instability_percent(log) == variance
    assert device_block(log) == device
    assert not graph_fell_back(log)
    assert not is_bound_by_enqueue(log)
    if median is None:
        with pytest.raises(WorkerError, match="got no median of GPU Compute"):
            gpu_compute_median_ms(log)
    else:
        assert gpu_compute_median_ms(log) == median


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("trt71_exportTimes_SYNTHETIC.json", 2, (0.0468, 55.2414)),
        ("trt82_exportTimes_SYNTHETIC.json", 1, (0.2952, 90.1061)),
        ("trt84_a100_exportTimes.json", 5, (2.57741, 0.873472)),
        ("trt10_rtx3060laptop_exportTimes.json", 5, (5000.04, 0.27832)),
    ],
)
def test_times_of_every_version_are_read(name, count, first):
    queries = read_times(sample(name))
    assert len(queries) == count
    assert queries[0] == first


def test_all_recorded_times_are_read():
    assert len(TIMES) == 4
    for name in TIMES:
        for query in read_times(sample(name)):
            assert query.compute_ms > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "got nothing"),
        ("[]", "expected a JSON list of one object a query"),
        ("{}", "expected a JSON list of one object a query"),
        ("[1]", "expected an object for each query"),
        ('[{"startComputeMs": 1}]', "without computeMs"),
        ('[{"startComputeMs": 1, "computeMs": -1}]', "computeMs: got '-1', expected a finite number >= 0"),
        ('[{"startComputeMs": 1, "computeMs": NaN}]', "computeMs: got 'nan'"),
        ('[{"startComputeMs": 1, "computeMs": true}]', "computeMs: got 'True'"),
        ('[{"startComputeMs": [], "computeMs": 1}]', "startComputeMs: got"),
        ('[{"startComputeMs": 1, "computeMs": inf}]', "expected a JSON list"),
        ('[{"startComputeMs": 1, "computeMs": 1' + "0" * 400 + "}]", "expected a finite number"),
        ("[" * 100_000, "expected a JSON list"),
    ],
)
def test_what_are_no_times_is_refused_in_one_line(text, words):
    with pytest.raises(WorkerError) as caught:
        read_times(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("[01/01/1970-00:00:00] [I] a\n[01/01/1970-00:00:00] [01/01/1970-00:00:00] [E] b\n[E] c\n&&&& FAILED TensorRT", "[E] b"),
        ("  --x  Emit error when\n[E] Unknown option: --y\n", "[E] Unknown option: --y"),
        (
            "trtexec: error while loading shared libraries: libcudart.so\n",
            "trtexec: error while loading shared libraries: libcudart.so",
        ),
        (
            "[I] a\nterminate called after throwing an instance of 'x'\n  what():  y\nAborted",
            "terminate called after throwing an instance of 'x'",
        ),
        ("a\nb\n\n&&&& FAILED TensorRT.trtexec", "b"),
        ("a\x1b[31m\tb\n", "a [31m b"),
        ("\n \n", "nothing was printed"),
        ("[E] " + "x" * 1000, "[E] " + "x" * 296 + "..."),
    ],
)
def test_one_line_tells_why_a_run_failed(log, line):
    assert telling_line(log) == line


def test_the_failure_on_record_is_told_by_its_last_line():
    assert telling_line(sample("trtexec_v100800_options_fail.log")) == "[I] Cannot find device ID 1!"


def test_warnings_are_found():
    assert is_bound_by_enqueue("[W] * Throughput may be bound by Enqueue Time rather than GPU Compute and the GPU may be")


ANNOUNCED = "[I] Capturing CUDA graph for the current execution context\n"


@pytest.mark.parametrize(
    ("log", "fell_back"),
    [
        ("[W] The specified --useCudaGraph flag has been ignored. The inference will be launched without", True),
        (ANNOUNCED + "[W] CUDA graph capture failed. The inference will be launched without using CUDA graph.\n", True),
        ("[W] The built TensorRT engine contains operations that are not permitted under CUDA graph capture mode.", True),
        (ANNOUNCED + "[I] Starting inference\n", True),
        (ANNOUNCED + "[I] Successfully captured CUDA graph for the current execution context. When profiling\n", False),
        ("[W]   If not already in use, --useCudaGraph (utilize CUDA graphs where possible) may increase", False),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --useCudaGraph\n[I] Starting inference\n", False),
    ],
)
def test_a_capture_that_failed_is_found_in_the_words_of_every_version(log, fell_back):
    assert graph_fell_back(log) is fell_back


def test_the_recorded_capture_of_11_that_failed_is_found():
    path = Path(__file__).resolve().parents[3] / "shared/cases/devicelogs/trtexec_v1101_graph_fallback.log"
    if not path.is_file():
        pytest.skip(f"the recorded log {path.name} is not on this machine")
    log = path.read_text()
    assert graph_fell_back(log)
    assert graph_fell_back("\n".join(log.splitlines()[2:]))  # its own words, without the line that older versions share


@pytest.mark.parametrize(
    ("version", "limit"),
    [("7", None), ("8.2.1", None), ("8.4.0", 1.0), ("10.13.3", 1.0), ("10.14.1", None), ("10.15.0", None), ("10.16.2", 2.5)]
    + [("11.1.0", 2.5)],
)
def test_the_limit_above_which_a_version_calls_times_unstable(version, limit):
    assert instability_limit(version) == limit


def test_options_are_those_at_the_beginning_of_a_line():
    text = "=== Build ===\n  --onnx=<file>   ONNX model\n                  --fp16 is mentioned here\n  --help, -h      Print this\n"
    assert trtexec_flags(text) == {"--onnx", "--help"}


def is_sane_number(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isfinite(value) and value >= 0)


READERS: dict[str, Callable[[str], bool]] = {
    "version": lambda text: trtexec_version(text) is None or trtexec_version(text).count(".") == 2,
    "median": lambda text: is_sane_number(gpu_compute_median_ms(text)),
    "variance": lambda text: is_sane_number(instability_percent(text)),
    "device": lambda text: all(value.strip() and "\n" not in value for value in device_block(text).values()),
    "line": lambda text: "\n" not in telling_line(text) and 0 < len(telling_line(text)) <= 303,
    "times": lambda text: all(is_sane_number(number) for query in read_times(text) for number in query),
}


@pytest.mark.parametrize("name", LOGS + TIMES)
def test_damaged_texts_give_sane_values_or_one_error(name):
    content = (SAMPLES / name).read_bytes()
    draw = random.Random(name)
    refused = []
    for _ in range(150):
        damaged = bytearray(content[: draw.randrange(len(content) + 1)] if draw.random() < 0.5 else content)
        for _ in range(draw.randrange(1, 20)):
            if damaged:
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        text = bytes(damaged).decode("utf-8", "replace")
        for reader in READERS.values():
            try:
                assert reader(text)
            except WorkerError as error:
                refused.append(str(error))
    assert refused
    assert not [message for message in refused if "\n" in message]
