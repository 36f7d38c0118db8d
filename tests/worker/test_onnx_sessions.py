"""What ONNX Runtime is asked for, seen by an imitation of it that has every provider."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nas.worker.interface import Operation, Setup, WorkerError
from nas.worker.onnx_sessions import open_onnxruntime, open_onnxruntime_tensorrt

SHAPE = (1, 1, 2, 2)
OPERATIONS = {"small": b"graph of 2x2", "large": b"graph of 4x4"}


class FakeSession:
    """Keeps what it was made with; with `TensorrtExecutionProvider` it leaves an engine in the cache's folder."""

    made: list[dict[str, Any]]
    refusal = ""

    def __init__(self, content: bytes, options: object, *, providers: list[Any], enable_fallback: int) -> None:
        del options
        if self.refusal:
            raise RuntimeError(self.refusal)
        self.made.append({"content": content, "providers": providers, "enable_fallback": enable_fallback})
        self._names = [one if isinstance(one, str) else one[0] for one in providers]

    def get_providers(self) -> list[str]:
        return self._names

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x0", shape=list(SHAPE))]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="output", shape=list(SHAPE))]

    def io_binding(self) -> Any:
        return SimpleNamespace(bind_ortvalue_input=lambda *args: None, bind_ortvalue_output=lambda *args: None)


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
