"""ONNX Runtime as a backend."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import onnxruntime
import pytest
import torch

import nas
from nas.config.settings import ExportSettings
from nas.devices.runtime_name import RuntimeName
from nas.errors import ConfigError
from nas.exporting.folding import fold_batch_norms
from nas.exporting.onnx_graph import node_counts
from nas.measuring.backends import onnx_runtime, onnx_session
from nas.measuring.backends.examples import example_images, example_operation
from nas.measuring.backends.onnx_runtime import OPSET, OnnxRuntime, onnx_graph
from nas.measuring.backends.onnx_session import bound_call, open_session
from nas.network.network import Network
from nas.ops import build
from tests.contracts.test_op_contract import spec_of_kind
from tests.random_weights import as_if_trained
from tests.small_jobs import random_genotype

RUNTIME = RuntimeName(backend="onnxruntime")


def runtime(**changes: int) -> RuntimeName:
    return RuntimeName(backend="onnxruntime", **changes)


def session_of(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], *, threads: int = 1) -> Any:
    return open_session(onnx_graph(module, inputs), accelerator="cpu", threads=threads, name="test")


@pytest.mark.parametrize("kind", ["conv_bn_relu", "add", "argmax", "resize", "grid_pool"])
@pytest.mark.parametrize("batch", [1, 3])
def test_bound_memory_holds_what_the_operation_computes(kind: str, batch: int) -> None:
    spec = spec_of_kind(kind)
    _, inputs = example_operation(spec, batch=batch)
    module = as_if_trained(build(spec))
    with torch.no_grad():
        expected = module(*inputs)
    output = torch.full_like(expected, -7)
    session = session_of(fold_batch_norms(module), inputs)
    call = bound_call(session, {f"x{i}": x for i, x in enumerate(inputs)}, output)
    call()
    assert torch.allclose(output.float(), expected.float(), atol=1e-5)
    inputs[0].copy_(-inputs[0])  # the memory of the inputs is read anew, not a copy of it
    call()
    with torch.no_grad():
        assert torch.allclose(output.float(), module(*inputs).float(), atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_backend_computes_the_label_map_of_the_network(threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = as_if_trained(nas.build(random_genotype(tmp_path / "genotype.yaml")))
    assert isinstance(network, Network)
    images = example_images((48, 64), batch=2)
    with torch.no_grad():  # every class gets a chance: its mean logit is zero
        classifier = next(node.module for node in network.graph.nodes if node.role == "op" and node.spec.kind == "classifier")
        network.get_submodule(classifier).conv.bias -= network(images).mean(dim=(0, 2, 3))
        expected = network.label_map(images)
    assert len(expected.unique()) > 1
    outputs: list[torch.Tensor] = []

    def spy(session: Any, inputs: Mapping[str, torch.Tensor], output: torch.Tensor) -> Callable[[], None]:
        outputs.append(output.fill_(-1))
        assert session.get_session_options().intra_op_num_threads == threads
        return bound_call(session, inputs, output)

    monkeypatch.setattr(onnx_runtime, "bound_call", spy)
    run = OnnxRuntime(runtime(batch=2, threads=threads)).prepare_network(network, size=(48, 64))
    assert run(1) > 0
    (labels,) = outputs
    assert labels.shape == expected.shape == (2, 1, 48, 64)
    assert (labels == expected).double().mean() > 0.99  # two logits may be equal but for rounding


def test_operations_are_folded_and_of_fixed_size_as_a_deployed_file_is() -> None:
    spec = spec_of_kind("conv_bn_relu")
    module, inputs = example_operation(spec, batch=3)
    model = onnx.load_model_from_string(onnx_graph(fold_batch_norms(module), inputs))
    assert node_counts(model) == {"Conv": 1, "Relu": 1}
    for value, channels in ((model.graph.input[0], spec.in_channels), (model.graph.output[0], spec.out_channels)):
        assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [3, channels, spec.height, spec.width]
    assert model.opset_import[0].version == OPSET == ExportSettings().opset


def test_sessions_are_set_up_as_stated() -> None:
    module, inputs = example_operation(spec_of_kind("add"), batch=1)
    session = session_of(module, inputs, threads=3)
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert session.get_providers() == ["CPUExecutionProvider"]


@pytest.mark.parametrize(("threads", "opened"), [(1, "ab"), (2, "abab")])
def test_sessions_with_threads_of_their_own_are_closed_before_another_runs(
    threads: int, opened: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of a session go on waiting busily for a while after its last call."""
    specs = {name: spec_of_kind(kind) for name, kind in (("a", "add"), ("b", "multiply"))}
    alive: list[weakref.ref[Any]] = []
    order: list[str] = []

    class Session:
        pass

    def open_one(content: bytes, *, name: str, **settings: Any) -> Session:
        assert settings["threads"] == threads
        gc.collect()
        if threads > 1:
            assert all(ref() is None for ref in alive)
        order.append(next(key for key, spec in specs.items() if spec.key == name))
        session = Session()
        alive.append(weakref.ref(session))
        return session

    monkeypatch.setattr(onnx_runtime, "open_session", open_one)
    monkeypatch.setattr(onnx_runtime, "bound_call", lambda session, inputs, output: lambda: session)  # noqa: ARG005
    backend = OnnxRuntime(runtime(threads=threads))
    first, second = (backend.prepare(spec) for spec in specs.values())
    for run in (second, second, first, second):
        run(2)
    assert "".join(order) == opened


@pytest.mark.parametrize(("keep_bytes", "traced"), [(10**9, 1), (0, 3)])
def test_graphs_are_made_once_while_they_fit_and_anew_beyond(keep_bytes: int, traced: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[bytes] = []

    def spy(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> bytes:
        graphs.append(onnx_graph(module, inputs))
        return graphs[-1]

    monkeypatch.setattr(onnx_runtime, "onnx_graph", spy)
    backend = OnnxRuntime(RUNTIME, accelerator="cpu", keep_bytes=keep_bytes)
    for _ in range(3):
        assert backend.prepare(spec_of_kind("add"))(1) > 0
    assert len(graphs) == traced


def test_missing_packages_are_named_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_session, "find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(ConfigError, match=r"onnx and onnxruntime not installed: pip install 'segnas\[export\]'"):
        OnnxRuntime(RUNTIME)


def test_cuda_is_refused_where_onnxruntime_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ConfigError, match="needs CUDAExecutionProvider, but this ONNX Runtime .* has CPUExecutionProvider only"):
        OnnxRuntime(RUNTIME, accelerator="cuda")


def test_a_session_that_would_run_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def session(content: bytes, options: Any, *, providers: Any, enable_fallback: int) -> Any:
        asked.append((options.get_session_config_entry("session.disable_cpu_ep_fallback"), providers, enable_fallback))
        return SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])

    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 1)
    with pytest.raises(ConfigError, match="my operation runs with .*CPUExecutionProvider.*expected CUDAExecutionProvider"):
        open_session(b"", accelerator="cuda", threads=1, stream=7, name="my operation")
    assert asked == [("1", [("CUDAExecutionProvider", {"device_id": "1", "user_compute_stream": "7"})], 0)]


def test_a_graph_that_cannot_be_run_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="onnxruntime: cannot run my operation with CPUExecutionProvider: .*another runtime"):
        open_session(b"no graph", accelerator="cpu", threads=1, name="my operation")


def test_cuda_time_is_taken_between_events_on_the_stream_of_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: str) -> None:
            log.append(f"record on {stream}")

        def synchronize(self) -> None:
            log.append("wait")

        def elapsed_time(self, end: Event) -> float:
            assert end is not self
            return 12.0

    monkeypatch.setattr(torch, "cuda", SimpleNamespace(Event=Event, synchronize=lambda: log.append("idle")))
    assert onnx_runtime.timed_cuda(lambda: log.append("call"), 4, "mine") == 3.0  # type: ignore[arg-type]
    assert log == ["idle", "record on mine", *["call"] * 4, "record on mine", "wait"]
