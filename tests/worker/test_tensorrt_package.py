"""The Python package of TensorRT as a runtime, against a fake of several versions with a simulated clock."""

from __future__ import annotations

import gc
import json
import re
import struct
import sys
from pathlib import Path

import pytest

from nas.worker.cuda import Cuda
from nas.worker.interface import Operation, Setup, WorkerError
from nas.worker.tensorrt_choice import open_tensorrt, without_folders
from nas.worker.tensorrt_package import TensorrtPackage, UnusablePackageError
from nas.worker.trtexec import TrtexecRuntime
from tests.worker import fake_trtexec
from tests.worker.fake_cuda import FakeCuda
from tests.worker.fake_tensorrt import Severity, fake_tensorrt

VERSIONS = ["7.1.3.0", "8.2.1.8", "8.6.1", "10.3.0", "11.0.0"]


def make_operation(folder: Path, *, ms: float = 0.25, output: str = "output", **fields: object) -> Operation:
    graph = {"inputs": [["x0", [1, 8, 16, 16]], ["x1", [1, 4, 4, 4]]], "outputs": [[output, [1, 2, 5, 5]]], "ms": ms} | fields
    path = folder / "operation.onnx"
    path.write_text(json.dumps(graph))
    return Operation("conv in=8x16x16", str(path), [("x0", (1, 8, 16, 16)), ("x1", (1, 4, 4, 4))], (1, 2, 5, 5), "float32")


def make_setup(folder: Path, precision: str = "fp32") -> Setup:
    return Setup(precision=precision, threads=1, accelerator="cuda", folder=str(folder / "work"))


def make_runtime(folder: Path, version: str, *, precision: str = "fp32", fault: str = "", library: FakeCuda | None = None):
    library = library or FakeCuda()
    trt = fake_tensorrt(version, library, fault=fault)
    return TensorrtPackage(make_setup(folder, precision), trt=trt, cuda=Cuda(library), root=str(folder)), trt, library


@pytest.mark.parametrize("output", ["output", "labels"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_sample_is_the_mean_of_calls_on_the_gpu(tmp_path, version, output):
    runtime, _, library = make_runtime(tmp_path, version)
    run = runtime.open(make_operation(tmp_path, ms=0.25, output=output))
    assert library.launched == 2  # once by itself and once as a graph, so that a failure is seen before anything is timed
    assert run(40) == pytest.approx(0.25, rel=1e-5)
    assert library.launched == 42
    assert runtime.version == version
    assert not runtime.is_program


@pytest.mark.parametrize("version", VERSIONS)
def test_short_operations_do_not_wait_for_the_host_in_a_graph(tmp_path, version):
    runtime, _, _ = make_runtime(tmp_path, version, library=FakeCuda(enqueue_ms=1.0))
    assert runtime.open(make_operation(tmp_path, ms=0.25))(40) == pytest.approx(0.25, rel=1e-5)
    assert runtime.details["cuda graph"] == "used"
    assert (runtime.graphs, runtime.without_graph, runtime.clock) == (True, set(), "cuda-events")


@pytest.mark.parametrize("function", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_what_cannot_be_captured_is_enqueued_and_the_record_says_so(tmp_path, function):
    runtime, _, _ = make_runtime(tmp_path, "8.2.1.8", library=FakeCuda(enqueue_ms=1.0, failing=function))
    assert runtime.open(make_operation(tmp_path, ms=0.25))(40) == pytest.approx(1.0, rel=1e-5)
    assert runtime.details["cuda graph"].startswith("not used for all operations")
    assert (runtime.graphs, runtime.without_graph) == (True, {"conv in=8x16x16"})


@pytest.mark.parametrize("version", VERSIONS[:4])
@pytest.mark.parametrize(("precision", "ms", "flags"), [("fp16", 0.5, ["FP16"]), ("int8", 0.25, ["FP16", "INT8"])])
def test_engines_are_built_in_the_precision(tmp_path, version, precision, ms, flags):
    runtime, trt, _ = make_runtime(tmp_path, version, precision=precision)
    assert runtime.open(make_operation(tmp_path, ms=1.0, output="labels"))(3) == pytest.approx(ms, rel=1e-5)
    assert trt.builds[0]["flags"] == flags
    assert ("int8" in runtime.details) == (precision == "int8")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_version_that_builds_in_the_types_of_the_graph_refuses_other_precisions(tmp_path, precision):
    with pytest.raises(WorkerError, match=f"11.0.0: got precision {precision}.*TensorRT 10 or older"):
        make_runtime(tmp_path, "11.0.0", precision=precision)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("total_mib", "workspace_mib"), [(3955, 256), (15536, 1024)])
def test_the_workspace_depends_on_the_memory(tmp_path, version, total_mib, workspace_mib):
    runtime, trt, _ = make_runtime(tmp_path, version, library=FakeCuda(total_bytes=total_mib << 20))
    runtime.open(make_operation(tmp_path))
    assert trt.builds[0]["workspace"] == workspace_mib << 20
    assert runtime.details["workspace"] == f"{workspace_mib} MiB"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_run_does_not_build_again(tmp_path, version):
    operation = make_operation(tmp_path)
    make_runtime(tmp_path, version)[0].open(operation)
    runtime, trt, _ = make_runtime(tmp_path, version)
    assert runtime.open(operation)(1) == pytest.approx(0.25)
    assert trt.builds == []
    assert not list((tmp_path / "work").glob("*.part*"))


def test_another_gpu_precision_version_or_graph_is_another_engine(tmp_path):
    operation = make_operation(tmp_path)
    make_runtime(tmp_path, "8.6.1")[0].open(operation)
    make_runtime(tmp_path, "8.6.1", library=FakeCuda(capability=(7, 2)))[0].open(operation)
    make_runtime(tmp_path, "8.6.1", precision="fp16")[0].open(operation)
    make_runtime(tmp_path, "10.3.0")[0].open(operation)
    make_runtime(tmp_path, "8.6.1")[0].open(make_operation(tmp_path, ms=1.0))
    assert len(list((tmp_path / "work").glob("*.engine"))) == 5


@pytest.mark.parametrize("version", VERSIONS)
def test_the_timing_cache_is_kept_from_8_on_and_one_of_another_device_is_named(tmp_path, version):
    make_runtime(tmp_path, version)[0].open(make_operation(tmp_path))
    caches = list((tmp_path / "work").glob("*.timing-cache"))
    assert len(caches) == (version != "7.1.3.0")
    for cache in caches:
        assert cache.read_text() == f"timing cache of {version}"
        make_runtime(tmp_path, version)[0].open(make_operation(tmp_path, ms=2.0))
        cache.write_text("of another device")
        with pytest.raises(WorkerError, match=f"timing cache of another device or version, {cache}; remove it"):
            make_runtime(tmp_path, version)[0].open(make_operation(tmp_path, ms=3.0))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "build",
            r"conv in=8x16x16: building: 10: \[optimizer.cpp::computeCosts::2011\] Error Code 10: Internal Error; is there memory",
        ),
        ("load", r"conv in=8x16x16: loading the engine: 1: \[stdArchiveReader.*Serialization; remove .*\.engine and start again"),
        ("context", "conv in=8x16x16: loading the engine: TensorRT gave no reason; remove "),
        ("run", "conv in=8x16x16: running: TensorRT gave no reason; is there memory"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_failure_is_one_line(tmp_path, version, fault, words):
    runtime, _, _ = make_runtime(tmp_path, version, fault=fault)
    with pytest.raises(WorkerError, match=words) as caught:
        runtime.open(make_operation(tmp_path))
    assert "\n" not in str(caught.value)


def test_what_the_parser_does_not_know_is_said_in_its_words(tmp_path):
    runtime, _, _ = make_runtime(tmp_path, "8.6.1")
    with pytest.raises(WorkerError, match="reading the graph: No importer registered for op: Shrink; TensorRT does not know"):
        runtime.open(make_operation(tmp_path, unknown=True))


def test_a_graph_without_fixed_shapes_is_refused(tmp_path):
    runtime, _, _ = make_runtime(tmp_path, "8.6.1")
    with pytest.raises(WorkerError, match=r"got an engine with the shape \(1, -1, 5, 5\), expected a graph of fixed shapes"):
        runtime.open(make_operation(tmp_path, outputs=[["output", [1, -1, 5, 5]]]))


def test_too_little_memory_is_said_in_the_words_of_cuda(tmp_path):
    runtime, _, _ = make_runtime(tmp_path, "8.6.1", library=FakeCuda(total_bytes=100))
    with pytest.raises(WorkerError, match=r"cudaMalloc failed: out of memory \(2\)"):
        runtime.open(make_operation(tmp_path))


def test_memory_is_freed_with_the_run_and_inputs_are_no_zeros(tmp_path):
    runtime, _, library = make_runtime(tmp_path, "8.6.1")
    run = runtime.open(make_operation(tmp_path))
    run(2)
    sizes = sorted(len(block) for block in library.memory.values())
    assert sizes == [4 * 2 * 5 * 5, 4 * 4 * 4 * 4, 4 * 8 * 16 * 16]
    for block in library.memory.values():
        values = struct.unpack(f"{len(block) // 4}f", block)
        if len(block) == 4 * 2 * 5 * 5:
            assert set(values) == {0.0}  # the output
        else:
            assert all(-1 <= value < 1 for value in values)
            assert len(set(values)) > len(values) // 2
    del run
    gc.collect()
    assert library.memory == {}


def test_a_large_buffer_is_filled_to_its_end():
    library = FakeCuda()
    cuda = Cuda(library)
    num_bytes = 4 * (2 * 65_536 + 3)
    memory = cuda.allocate(num_bytes)
    cuda.fill(memory, num_bytes)
    values = struct.unpack(f"{num_bytes // 4}f", library.memory[memory.address])
    assert values[:65_536] == values[65_536 : 2 * 65_536]
    assert values[-3:] == values[:3]
    assert 0.0 not in values[-3:]


def test_facts_of_cuda_are_recorded(tmp_path):
    runtime, _, _ = make_runtime(tmp_path, "8.6.1")
    assert runtime.details == {
        "tf32": "allowed where the GPU has it (TensorRT's default)",
        "workspace": "1024 MiB",
        "inputs and outputs": "float32, NCHW; each operation pays for its conversions, most of which vanish within a network",
        "cuda": "12.6",
        "cuda of the driver": "12.8",
        "compute capability": "8.7",
        "multiprocessors": "8",
        "cuda graph": "used",
    }


def test_a_machine_without_a_gpu_says_so():
    with pytest.raises(WorkerError, match=r"cudaDriverGetVersion failed: CUDA driver version is insufficient .*\(35\)"):
        Cuda(FakeCuda(failing="cudaDriverGetVersion"))


def test_the_package_is_chosen_where_it_and_cuda_load(tmp_path, monkeypatch):
    library = FakeCuda()
    monkeypatch.delenv("SEGNAS_TRTEXEC", raising=False)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt("10.3.0", library))
    monkeypatch.setattr("nas.worker.cuda.cudart_places", lambda: ["libcudart.so"])
    assert isinstance(open_tensorrt(make_setup(tmp_path), load=lambda place: library, places=()), TensorrtPackage)

    def refuse(place: str) -> object:
        raise OSError(place)

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkerError, match=r"cannot be used: CUDA runtime: no libcudart works .*SEGNAS_TRTEXEC=PATH"):
        open_tensorrt(make_setup(tmp_path), load=refuse, places=())


TOO_OLD = "CUDA initialization failure with error: 35. Please check your CUDA installation"
NULL = "pybind11::init(): factory function returned nullptr"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("null", f"Runtime cannot be made: {TOO_OLD}; {NULL}; expected a driver new enough"),
        ("dead", f"Runtime cannot be made: createInferRuntime: Error Code 6: API Usage Error ({TOO_OLD} ); expected a driver"),
        ("none", "Runtime cannot be made: it gave no reason; expected a driver new enough"),
    ],
)
@pytest.mark.parametrize("version", ["7.1.3.0", "8.6.1", "11.0.0"])
def test_a_package_without_cuda_is_refused_with_the_reason_that_it_logged(tmp_path, version, fault, words):
    with pytest.raises(UnusablePackageError) as caught:
        make_runtime(tmp_path, version, fault=fault)
    assert f"Python package tensorrt {version}: {words}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_builder_that_cannot_be_made_is_refused_in_one_line(tmp_path):
    runtime, _, _ = make_runtime(tmp_path, "8.6.1", fault="null-builder")
    with pytest.raises(WorkerError, match=re.escape(f"8.6.1: Builder cannot be made: {TOO_OLD}; {NULL}; expected a driver")):
        runtime.open(make_operation(tmp_path))


def test_what_a_working_package_warned_of_is_no_reason_of_a_later_refusal(tmp_path):
    runtime, _, _ = make_runtime(tmp_path, "8.6.1", fault="run")
    runtime._logger.log(Severity.WARNING, "CUDA lazy loading is not enabled")
    with pytest.raises(WorkerError, match="running: TensorRT gave no reason"):
        runtime.open(make_operation(tmp_path))


def test_trtexec_measures_where_the_package_is_unusable_and_the_record_says_why(tmp_path, monkeypatch):
    library = FakeCuda()
    monkeypatch.delenv("SEGNAS_TRTEXEC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("FAKE_TRTEXEC_VERSION", "8.6")
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt("8.6.1", library, fault="null"))
    monkeypatch.setattr("nas.worker.cuda.cudart_places", lambda: ["libcudart.so"])
    with pytest.raises(
        WorkerError, match=re.escape(f"cannot be used: Python package tensorrt 8.6.1: Runtime cannot be made: {TOO_OLD}")
    ):
        open_tensorrt(make_setup(tmp_path), load=lambda place: library, places=())
    program = tmp_path / "trtexec"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{Path(fake_trtexec.__file__).resolve()}" "$@"\n')
    program.chmod(0o755)
    runtime = open_tensorrt(make_setup(tmp_path), load=lambda place: library, places=())
    assert isinstance(runtime, TrtexecRuntime)
    assert runtime.details["measured by"].startswith(
        f"trtexec instead of the Python package: Python package tensorrt 8.6.1: Runtime cannot be made: {TOO_OLD}; "
    )


def test_the_record_of_a_reason_names_no_folder_of_a_home():
    reason = "tried /place/venv/lib/libcudart.so.12, /usr/local/cuda/lib64/libcudart.so: too old; package (libnvinfer.so.10: cannot"
    assert without_folders(reason) == (
        "tried libcudart.so.12, /usr/local/cuda/lib64/libcudart.so: too old; package (libnvinfer.so.10: cannot"
    )
    assert without_folders("(/place/lib/libx.so: no such file)") == "(libx.so: no such file)"


def test_what_the_package_refuses_by_itself_is_not_left_to_trtexec(tmp_path, monkeypatch):
    library = FakeCuda()
    monkeypatch.delenv("SEGNAS_TRTEXEC", raising=False)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt("11.0.0", library))
    monkeypatch.setattr("nas.worker.cuda.cudart_places", lambda: ["libcudart.so"])
    with pytest.raises(WorkerError, match="11.0.0: got precision fp16"):
        open_tensorrt(make_setup(tmp_path, "fp16"), load=lambda place: library, places=(sys.executable,))


@pytest.mark.parametrize(
    ("changes", "words"), [({"accelerator": "cpu"}, "expected cuda"), ({"precision": "tf32"}, "expected one of fp32")]
)
def test_what_tensorrt_cannot_do_is_refused(tmp_path, changes, words):
    library = FakeCuda()
    with pytest.raises(WorkerError, match=words):
        TensorrtPackage(make_setup(tmp_path)._replace(**changes), trt=fake_tensorrt("8.6.1", library), cuda=Cuda(library))


@pytest.mark.parametrize(
    ("capability", "has_int8"), [((5, 3), False), ((6, 1), True), ((6, 2), False), ((7, 2), True), ((8, 7), True)]
)
def test_int8_is_refused_where_the_gpu_has_none(tmp_path, capability, has_int8):
    library = FakeCuda(capability=capability)
    if has_int8:
        assert make_runtime(tmp_path, "8.2.1.8", precision="int8", library=library)[0].open(make_operation(tmp_path))(1) > 0
    else:
        with pytest.raises(
            WorkerError, match=f"compute capability {capability[0]}.{capability[1]} has none; expected fp32 or fp16"
        ):
            make_runtime(tmp_path, "8.2.1.8", precision="int8", library=library)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "work").write_text("a file")
    with pytest.raises(WorkerError, match=r"work: cannot be made \(File exists\); expected a folder for engines"):
        make_runtime(tmp_path, "8.6.1")
