"""ONNX Runtime as a backend: the worker's sessions with graphs that are made in this process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
import torch

import nas
from nas.devices.runtime_name import RuntimeName
from nas.errors import ConfigError
from nas.measuring.backends import onnx_runtime
from nas.measuring.backends.onnx_runtime import OnnxRuntime
from nas.network.network import Network
from nas.ops.spec import OpSpec
from nas.worker.interface import Operation
from tests.contracts.test_op_contract import spec_of_kind
from tests.small_jobs import random_genotype

RUNTIME = RuntimeName(backend="onnxruntime")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Operation]:
    """What the worker's sessions were asked to open."""
    operations: list[Operation] = []
    open_graph = onnx_runtime.OnnxSessions.open_graph

    def spy(self: Any, content: bytes, operation: Operation) -> Any:
        operations.append(operation)
        return open_graph(self, content, operation)

    monkeypatch.setattr(onnx_runtime.OnnxSessions, "open_graph", spy)
    return operations


def test_network_is_opened_from_images_to_label_map(opened: list[Operation], tmp_path: Any) -> None:
    network = nas.build(random_genotype(tmp_path / "genotype.yaml"))
    assert isinstance(network, Network)
    run = OnnxRuntime(RuntimeName(backend="onnxruntime", batch=2, threads=2)).prepare_network(network, size=(48, 64))
    assert run(1) > 0
    (one,) = opened
    assert (one.key, one.inputs) == ("the network at 48x64", [("x0", (2, 3, 48, 64))])
    assert (one.output, one.output_type) == ((2, 1, 48, 64), "int64")


def test_sessions_are_set_up_as_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    session = onnxruntime.InferenceSession

    def spy(content: bytes, options: Any, **settings: Any) -> Any:
        asked.append(options)
        return session(content, options, **settings)

    monkeypatch.setattr("onnxruntime.InferenceSession", spy)
    OnnxRuntime(RuntimeName(backend="onnxruntime", threads=3)).prepare(spec_of_kind("add"))
    (options,) = asked
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL


@pytest.mark.parametrize(("keep_bytes", "times"), [(10**9, 1), (0, 3)])
def test_sessions_are_kept_while_they_fit_and_opened_anew_beyond(keep_bytes: int, times: int, opened: list[Operation]) -> None:
    backend = OnnxRuntime(RUNTIME, accelerator="cpu", keep_bytes=keep_bytes)
    for _ in range(3):
        assert backend.prepare(spec_of_kind("add"))(1) > 0
    assert len(opened) == times


def test_missing_packages_are_named_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_runtime, "find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(ConfigError, match=r"onnx and onnxruntime not installed: pip install 'segnas\[export\]'"):
        OnnxRuntime(RUNTIME)


def test_cuda_is_refused_where_onnxruntime_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ConfigError, match="has CPUExecutionProvider, expected CUDAExecutionProvider; install onnxruntime-gpu"):
        OnnxRuntime(RUNTIME, accelerator="cuda")


def test_a_session_that_would_run_elsewhere_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = SimpleNamespace(get_providers=lambda: ["AzureExecutionProvider"])
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *args, **settings: elsewhere)  # noqa: ARG005
    with pytest.raises(ConfigError, match="add .*: it would run with Azure.*, expected CPUExecutionProvider; .*another runtime"):
        OnnxRuntime(RUNTIME).prepare(spec_of_kind("add"))


def test_the_graph_of_maps_too_large_to_keep_is_traced_once(opened: list[Operation], monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[OpSpec] = []
    operation_file = onnx_runtime.operation_file

    def spy(spec: OpSpec, **settings: Any) -> Any:
        traced.append(spec)
        return operation_file(spec, **settings)

    monkeypatch.setattr(onnx_runtime, "operation_file", spy)
    spec = OpSpec.from_key("add in=64x64x64 out=64x64x64 k=1 s=1 d=1 g=1")
    backend = OnnxRuntime(RUNTIME, keep_bytes=100_000)
    first, second = backend.prepare(spec), backend.prepare(spec)
    assert (first is second, len(opened), len(traced)) == (False, 2, 1)
    assert second(1) > 0
