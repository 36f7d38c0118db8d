"""What ONNX Runtime is asked for, seen by an imitation of it that has every provider."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nas.worker.interface import Operation, Setup, WorkerError
from nas.worker.onnx_sessions import SETTLING, loading_failure, open_onnxruntime, open_onnxruntime_tensorrt

SHAPE = (1, 1, 2, 2)
OPERATIONS = {"small": b"graph of 2x2", "large": b"graph of 4x4"}


class FakeSession:
    """Keeps what it was made with; with `TensorrtExecutionProvider` it leaves an engine in the cache's folder."""

    made: list[dict[str, Any]]
    runs = 0
    refusal = ""
    on_stderr = ""
    runs_with: list[str] | None = None

    def __init__(self, content: bytes, options: object, *, providers: list[Any], enable_fallback: int) -> None:
        del options
        os.write(2, self.on_stderr.encode())
        if self.refusal:
            raise RuntimeError(self.refusal)
        self.made.append({"content": content, "providers": providers, "enable_fallback": enable_fallback, "session": self})
        self._names = [one if isinstance(one, str) else one[0] for one in providers]

    def get_providers(self) -> list[str]:
        return [*self._names, "CPUExecutionProvider"] if self.runs_with is None else self.runs_with

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x0", shape=list(SHAPE))]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="output", shape=list(SHAPE))]

    def io_binding(self) -> Any:
        ignore = lambda *args: None  # noqa: E731
        return SimpleNamespace(bind_ortvalue_input=ignore, bind_ortvalue_output=ignore, synchronize_outputs=ignore)

    def run_with_iobinding(self, binding: object, options: object) -> None:
        del binding, options
        self.runs += 1


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeSession]:
    """The class of sessions of an imitation in place of onnxruntime."""
    session = type("Session", (FakeSession,), {"made": []})
    options = lambda: SimpleNamespace(add_session_config_entry=lambda *args: None)  # noqa: E731
    ort = SimpleNamespace(
        __version__="1.19.2",
        InferenceSession=session,
        SessionOptions=options,
        RunOptions=SimpleNamespace,
        ExecutionMode=SimpleNamespace(ORT_SEQUENTIAL=0),
        GraphOptimizationLevel=SimpleNamespace(ORT_ENABLE_ALL=99),
        OrtValue=SimpleNamespace(ortvalue_from_numpy=lambda *args: args[0]),
        get_available_providers=lambda: ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", ort)
    monkeypatch.setitem(sys.modules, "numpy", np)
    for name, content in OPERATIONS.items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
    return session


def operation(name: str, folder: Path) -> Operation:
    return Operation(name, str(folder / f"{name}.onnx"), [("x0", SHAPE)], SHAPE, "float32")


def test_each_graph_has_a_folder_of_engines_and_finds_it_again(sessions, tmp_path) -> None:
    for _ in range(2):
        runtime = open_onnxruntime_tensorrt(Setup("fp16", 1, "cuda", str(tmp_path)))
        for name in OPERATIONS:
            runtime.open(operation(name, tmp_path))
    small, large, small_again, large_again = (Path(one["providers"][0][1]["trt_engine_cache_path"]) for one in sessions.made)
    assert small != large
    assert (small_again, large_again) == (small, large)
    assert small.is_dir()
    assert large.is_dir()
    assert tmp_path in small.parents


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_no_session_falls_back_to_another_provider(sessions, tmp_path, accelerator) -> None:
    runtime = open_onnxruntime(Setup("fp32", 1, accelerator, str(tmp_path)))
    runtime.open(operation("small", tmp_path))
    assert [one["enable_fallback"] for one in sessions.made] == [0]
    sessions.refusal = "CUDA failure 35\nmore"
    with pytest.raises(WorkerError, match="cannot run large with .*: CUDA failure 35$"):
        runtime.open(operation("large", tmp_path))


def test_a_session_has_its_memory_before_it_is_timed(sessions, tmp_path) -> None:
    run = open_onnxruntime(Setup("fp32", 1, "cpu", str(tmp_path))).open(operation("small", tmp_path))
    (made,) = sessions.made
    assert made["session"].runs == SETTLING == 2
    run(3)
    assert made["session"].runs == SETTLING + 3


# In the form of 1.20 and later, as ONNX Runtime itself writes it; the names of folders are made up.
NOT_LOADED = (
    "\x1b[1;31m2026-01-01 00:00:00.0 [E:onnxruntime:Default, provider_bridge_ort.cc:1 operator()] FAIL : Failed to load "
    "library /opt/env/onnxruntime/capi/libonnxruntime_providers_cuda.so with error: libcudnn.so.9: cannot open shared object file: "
    "No such file or directory\n\x1b[m\n\x1b[0;93m[W:onnxruntime:Default, x.cc:1] Failed to create CUDAExecutionProvider. Require "
    "cuDNN 9.* and CUDA 12.*. Please install all dependencies as mentioned in the GPU requirements page\x1b[m\n"
)
REASON = (
    "libonnxruntime_providers_cuda.so cannot be loaded: libcudnn.so.9: cannot open shared object file: No such file or directory; "
    "this build says: Require cuDNN 9.* and CUDA 12.*"
)


@pytest.mark.parametrize("refusal", ["graph nodes are assigned to the default CPU EP, but fallback has been disabled", ""])
def test_the_reason_why_cuda_was_not_loaded_is_told_in_one_line(sessions, tmp_path, capfd, refusal) -> None:
    sessions.refusal, sessions.on_stderr, sessions.runs_with = refusal, NOT_LOADED, ["CPUExecutionProvider"]
    runtime = open_onnxruntime(Setup("fp32", 1, "cuda", str(tmp_path)))
    with pytest.raises(WorkerError) as caught:
        runtime.open(operation("small", tmp_path))
    assert str(caught.value) == f"onnxruntime: cannot run small with CUDAExecutionProvider: {REASON}"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("runs_with", [["CPUExecutionProvider"], ["TensorrtExecutionProvider", "CPUExecutionProvider"]])
def test_a_session_without_all_of_its_providers_is_refused(sessions, tmp_path, capfd, runs_with) -> None:
    sessions.runs_with, sessions.on_stderr = runs_with, "[W] something else\n"
    runtime = open_onnxruntime_tensorrt(Setup("fp32", 1, "cuda", str(tmp_path)))
    words = f"it would run with {', '.join(runs_with)}, expected TensorrtExecutionProvider, CUDAExecutionProvider$"
    with pytest.raises(WorkerError, match=words):
        runtime.open(operation("small", tmp_path))
    assert capfd.readouterr().err == "[W] something else\n"


def test_what_a_session_that_works_writes_to_the_terminal_stays_there(sessions, tmp_path, capfd) -> None:
    sessions.on_stderr = "[W] a warning\n"
    for accelerator in ("cuda", "cpu"):
        open_onnxruntime(Setup("fp32", 1, accelerator, str(tmp_path))).open(operation("small", tmp_path))
        assert capfd.readouterr().err == "[W] a warning\n"


def test_a_library_that_is_missing_without_further_words(tmp_path) -> None:
    assert loading_failure("[E] some other error\n[W] and a warning") is None
    assert loading_failure("[E] Failed to load library libx_tensorrt.so with error: libnvinfer.so.10: cannot open\n[E] more") == (
        "libx_tensorrt.so cannot be loaded: libnvinfer.so.10: cannot open; put that library where the linker finds it "
        "(LD_LIBRARY_PATH)"
    )


@pytest.mark.parametrize(("version", "words"), [("1.19.2", "refused"), ("1.16.0", "refused"), ("1.8.0", "run on the CPU unseen")])
def test_the_record_says_whether_operators_may_run_on_the_cpu(sessions, tmp_path, monkeypatch, version, words) -> None:
    monkeypatch.setattr(sys.modules["onnxruntime"], "__version__", version)
    runtime = open_onnxruntime(Setup("fp32", 1, "cuda", str(tmp_path)))
    assert runtime.details["operators that have no GPU kernel"].startswith(words)
    assert (runtime.graphs, runtime.clock) == (False, "wall")
    assert open_onnxruntime(Setup("fp32", 1, "cpu", str(tmp_path))).graphs is None
