"""trtexec as a runtime, against a program that behaves like it in several versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.worker.interface import WorkerError
from tests.worker.fake_trtexec import BANNERS, FLAGS, latency_ms
from tests.worker.trtexec_device import NUMBERS, Device

MEAN = 1.004
"""Mean of five queries over the latency L: three take L, one 0.97 L, one 1.05 L."""


@pytest.fixture
def device(tmp_path, monkeypatch) -> Device:
    return Device(tmp_path, monkeypatch)


@pytest.mark.parametrize("version", BANNERS)
def test_a_sample_is_the_mean_of_the_gpu_time_after_the_warm_up_in_every_version(device, version):
    runtime = device.runtime(version)
    expected = MEAN * latency_ms(Path(device.operation.path).read_bytes())
    assert runtime.open(device.operation)(1) == pytest.approx(expected, rel=1e-5)
    assert runtime.clock == "gpu-time"
    assert runtime.version == NUMBERS[version]
    assert runtime.is_program


@pytest.mark.parametrize(("precision", "factor"), [("fp16", 0.5), ("int8", 0.25)])
@pytest.mark.parametrize("version", ["7.1", "10.3"])
def test_engines_are_built_in_the_precision(device, version, precision, factor):
    fp32 = latency_ms(Path(device.operation.path).read_bytes())
    runtime = device.runtime(version, precision=precision)
    assert runtime.open(device.operation)(1) == pytest.approx(factor * MEAN * fp32, rel=1e-4)
    assert ("int8" in runtime.details) == (precision == "int8")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_version_that_builds_in_the_types_of_the_graph_refuses_other_precisions(device, precision):
    with pytest.raises(WorkerError, match=f"11.0.0: got precision {precision}.*TensorRT 10 or older"):
        device.runtime("11.0", precision=precision)


@pytest.mark.parametrize("version", BANNERS)
def test_the_options_are_those_that_the_version_lists(device, version):
    run = device.runtime(version).open(device.operation)
    run(250)
    help_call, build, timing = device.calls()
    assert help_call == ["--help"]
    listed = {
        flag
        for flag, (first, last, _) in FLAGS.items()
        if release(first) <= release(version) and (not last or release(version) <= release(last))
    }
    assert {argument.partition("=")[0] for argument in build + timing} <= listed
    workspace = "--workspace=1024" if version in ("7.1", "8.2") else "--memPoolSize=workspace:1024"
    assert workspace in build
    assert ("--skipInference" if version in ("8.6", "10.3", "11.0") else "--buildOnly") in build
    assert "--noTF32" not in build
    assert any(argument.startswith("--timingCacheFile=") for argument in build) == (version != "7.1")
    assert {"--iterations=250", "--avgRuns=250", "--warmUp=500", "--duration=0"} <= set(timing)
    assert ("--useCudaGraph" in timing) == ("--useSpinWait" in timing) == (version != "11.0")
    assert ("--noDataTransfers" in timing) == (version not in ("7.1", "11.0"))
    assert ("--explicitBatch" in build, "--explicitBatch" in timing) == (version == "7.1", version == "7.1")


def test_a_sample_has_a_hundred_queries_at_least(device):
    device.runtime().open(device.operation)(3)
    assert "--iterations=100" in device.calls()[-1]


def test_a_resumed_run_does_not_build_again(device):
    first = device.runtime().open(device.operation)(1)
    resumed = device.runtime()
    assert resumed.open(device.operation)(1) == first
    assert resumed.details["gpu"] == "Orin"
    assert sum(any(argument.startswith("--onnx") for argument in call) for call in device.calls()) == 1


def test_another_precision_version_graph_or_key_is_another_engine(device):
    device.runtime().open(device.operation)
    device.runtime(precision="fp16").open(device.operation)
    device.runtime("10.3").open(device.operation)
    device.runtime().open(device.operation._replace(key="another"))
    Path(device.operation.path).write_bytes(b"another graph")
    device.runtime().open(device.operation)
    assert len(list((device.folder / "work").glob("*.engine"))) == 5
    assert not list((device.folder / "work").glob("*.part*"))


def test_a_slice_of_a_gpu_does_not_take_the_engine_of_the_whole(device):
    def nvidia_smi(name, listed, mode):
        def run(words):
            if words[1] == "-L":
                return listed
            asked = words[2].partition("=")[2].split(",")
            values = {"index": "0", "name": name, "mig.mode.current": mode}
            return ", ".join(values[key] for key in asked) if set(asked) <= set(values) else None

        return run

    whole = "GPU 0: NVIDIA A100 (UUID: GPU-1)"
    for tool in (
        nvidia_smi("NVIDIA A100", whole, "Disabled"),
        nvidia_smi("NVIDIA A100", f"{whole}\n  MIG 1g.10gb     Device  0: (UUID: MIG-2)", "Enabled"),
        nvidia_smi("NVIDIA T4", "GPU 0: NVIDIA T4 (UUID: GPU-3)", "[N/A]"),
        lambda words: None,
    ):
        device.runtime(run=tool).open(device.operation)
        device.runtime(run=tool).open(device.operation)
    assert len(list((device.folder / "work").glob("*.engine"))) == 4


def test_an_empty_engine_file_is_built_again(device):
    device.runtime().open(device.operation)
    (engine,) = (device.folder / "work").glob("*.engine")
    engine.write_bytes(b"")
    assert device.runtime().open(device.operation)(1) > 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "build",
            r"building: trtexec failed with status 1: \[E\] \[TRT\] ModelImporter.cpp:773: While parsing node number 0 \[Resize",
        ),
        ("memory", r"building: .*\[E\] Error\[2\]: .*OutOfMemory"),
        ("killed", r"building: trtexec was ended by signal 9 \(often: no memory left\); its last word: "),
        ("no-engine", "building: trtexec passed, but wrote no engine"),
        ("no-passed", "building: trtexec failed with status 0: "),
        ("passed-status-1", "building: trtexec failed with status 1: "),
    ],
)
def test_a_failed_build_is_one_line_and_leaves_no_engine(device, fault, words):
    runtime = device.runtime("8.2", fault=fault)
    with pytest.raises(WorkerError, match=words) as caught:
        runtime.open(device.operation)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(device.operation.key)
    assert not list((device.folder / "work").glob("*.engine*"))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no-json", "timing: trtexec passed, but wrote no times"),
        ("cut-json", "timing: times of trtexec: got .*, expected a JSON list"),
        ("few", "timing: got (0|10) queries after the warm-up, expected about 100"),
        ("other-summary", "timing: the median of the file is .* but the summary says"),
    ],
)
@pytest.mark.parametrize("version", ["7.1", "8.6"])
def test_a_failed_timing_is_one_line(device, version, fault, words):
    run = device.runtime(version, fault=fault).open(device.operation)
    with pytest.raises(WorkerError, match=words) as caught:
        run(100)
    assert "\n" not in str(caught.value)


def test_times_of_an_earlier_sample_are_not_taken_for_those_of_this_one(device):
    run = device.runtime().open(device.operation)
    run(100)
    device.monkeypatch.setenv("FAKE_TRTEXEC_FAULT", "no-json")
    with pytest.raises(WorkerError, match="wrote no times"):
        run(100)


def test_an_engine_of_another_version_is_refused_in_its_own_words(device):
    runtime = device.runtime()
    run = runtime.open(device.operation)
    (engine,) = (device.folder / "work").glob("*.engine")
    engine.write_text(engine.read_text().replace("8.6", "8.2"))
    with pytest.raises(WorkerError, match="The engine plan file is not compatible with this version"):
        run(100)


def test_an_incompatible_timing_cache_is_named(device):
    device.runtime().open(device.operation)
    (cache,) = (device.folder / "work").glob("*.timing-cache")
    cache.write_text("of another device")
    with pytest.raises(WorkerError, match=f"ITimingCache.*remove {cache} and start again"):
        device.runtime().open(device.make_operation("another operation"))
    cache.unlink()
    assert device.runtime().open(device.make_operation("another operation"))(1) > 0


def test_warnings_of_a_timing_are_recorded(device):
    runtime = device.runtime(fault="graph")
    assert runtime.details["cuda graph"] == "used"
    runtime.open(device.operation)(100)
    assert runtime.details["cuda graph"] == f"used, but 1 operations cannot be captured; the last: {device.operation.key}"
    # The variance is 0.000664 L squared.
    assert runtime.details["unstable"].startswith("1 of 1 samples so far; the last: coefficient of variance 2.566")
    device.monkeypatch.setenv("FAKE_TRTEXEC_FAULT", "enqueue")
    runtime.open(device.operation)(100)
    assert runtime.details["bound by enqueue"].startswith("1 of 2 samples so far")
    assert runtime.details["gpu"] == "Orin"
    assert runtime.details["compute capability"] == "8.7"
    assert all(isinstance(text, str) for text in runtime.details.values())


@pytest.mark.parametrize(("version", "fault"), [("8.6", "graph"), ("11.0", "graph"), ("11.0", "graph-in-other-words")])
def test_an_operation_that_was_launched_without_a_graph_is_not_recorded_as_one_with(device, version, fault):
    runtime = device.runtime(version)
    other = device.make_operation("another operation")
    runtime.open(other)(100)
    assert (runtime.graphs, runtime.without_graph) == (True, set())
    device.monkeypatch.setenv("FAKE_TRTEXEC_FAULT", fault)
    runtime.open(device.operation)(100)
    device.monkeypatch.setenv("FAKE_TRTEXEC_FAULT", "")
    runtime.open(device.operation)(100)  # once is enough
    assert runtime.without_graph == {device.operation.key}
    assert runtime.details["cuda graph"] == f"used, but 1 operations cannot be captured; the last: {device.operation.key}"


@pytest.mark.parametrize(
    ("version", "rule"),
    [
        ("7.1", "never, by TensorRT 7"),
        ("8.2", "never, by TensorRT 8.2.1"),
        ("8.4", "above a coefficient of variance of 1 %, by TensorRT 8.4.0"),
        ("10.3", "above a coefficient of variance of 1 %, by TensorRT 10.3.0"),
        ("11.0", "above a coefficient of variance of 2.5 %, by TensorRT 11.0.0"),
    ],
)
def test_the_record_states_when_the_version_calls_a_sample_unstable(device, version, rule):
    assert device.runtime(version).details["called unstable"] == rule


def release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
