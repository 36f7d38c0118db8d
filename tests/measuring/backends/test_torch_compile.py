"""Compiled PyTorch as a backend: with a compiler that counts in the place of Inductor, and once with Inductor itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nas.devices.runtime_name import RuntimeName
from nas.errors import ConfigError
from nas.measuring import example_operations
from nas.measuring.backends import torch_compile
from nas.measuring.backends.torch_compile import TorchCompile
from nas.ops import OpSpec
from tests.contracts.test_backend_contract import COMPILES

RUNTIME = RuntimeName(backend="torch-compile")


def conv(size: int, kind: str = "relu_conv_bn") -> OpSpec:
    return OpSpec(
        kind=kind,
        in_channels=4,
        height=size,
        width=size,
        out_channels=4,
        out_height=size,
        out_width=size,
        kernel=3,
    )


class CountingCompiler:
    """Leaves the graph as it is; counts graphs, and the calls of each by the height of its input."""

    def __init__(self) -> None:
        self.graphs: list[list[str]] = []
        self.calls: list[int] = []
        self.threads: set[int] = set()
        self.seconds = 0.0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        del inputs
        time.sleep(self.seconds)
        self.graphs.append([str(node.target) for node in graph.graph.nodes if node.op == "call_function"])
        self.threads.add(torch.get_num_threads())

        def call(*args: torch.Tensor) -> Any:
            self.calls.append(next(x.shape[2] for x in args if x.ndim == 4 and x.shape[2] > 3))
            return graph.forward(*args)

        return call


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> CountingCompiler:
    counting = CountingCompiler()
    monkeypatch.setattr(torch_compile, "COMPILER", counting)
    return counting


def test_every_one_of_many_operations_of_a_class_stays_compiled(compiler: CountingCompiler) -> None:
    """PyTorch by itself would stop after `recompile_limit` of them."""
    from torch._dynamo import config

    sizes = range(4, 24)
    with config.patch(recompile_limit=2, accumulated_recompile_limit=3):
        backend = TorchCompile(RUNTIME)
        runs = {size: backend.prepare(conv(size)) for size in sizes}
        assert len(compiler.graphs) == len(sizes)
        compiler.calls.clear()
        for size in (*sizes, *reversed(sizes)):
            runs[size](3)
            backend.prepare(conv(size))(1)
    assert compiler.calls == [size for size in (*sizes, *reversed(sizes)) for _ in range(4)]
    assert len(compiler.graphs) == len(sizes)


def test_operations_of_one_shape_are_not_mixed_up(compiler: CountingCompiler) -> None:
    """Without the checks of PyTorch, nothing but the separate versions tells two modules of one class from each other."""
    modules = {gain: torch.nn.Conv2d(1, 1, 1, bias=False).eval().requires_grad_(requires_grad=False) for gain in (2.0, 3.0)}
    backend, x = TorchCompile(RUNTIME), torch.ones(1, 1, 4, 4)
    calls = {}
    for gain, module in modules.items():
        module.weight.fill_(gain)
        calls[gain] = backend._finish(module, (x,), name="a gain")
    with torch.inference_mode():
        assert {gain: float(call(x).mean()) for gain, call in calls.items()} == {2.0: 2.0, 3.0: 3.0}
    assert len(compiler.graphs) == 2


def test_compilation_is_part_of_preparing_and_never_timed(compiler: CountingCompiler) -> None:
    compiler.seconds = 0.5
    start = time.perf_counter()
    run = TorchCompile(RUNTIME).prepare(conv(40))
    assert time.perf_counter() - start > 0.5
    assert run(1) < 400


def test_the_threads_of_the_runtime_are_compiled_for(compiler: CountingCompiler) -> None:
    threads = torch.get_num_threads()
    backend = TorchCompile(RuntimeName(backend="torch-compile", threads=threads + 1))
    with backend.measuring():
        backend.prepare(conv(41))(1)
    assert compiler.threads == {threads + 1}
    assert torch.get_num_threads() == threads


def test_a_compiler_that_fails_is_named_with_the_operation_the_reason_and_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        raise OSError("CppCompileError\n\nOutput:\nmain.cpp:1: error: Python.h: no such file\nand more")

    monkeypatch.setattr(torch_compile, "COMPILER", broken)
    with pytest.raises(ConfigError) as caught:
        TorchCompile(RUNTIME).prepare(conv(42))
    assert str(caught.value) == (
        f"torch-compile: cannot compile {conv(42).key}: main.cpp:1: error: Python.h: no such file; install a C++ compiler, "
        "e.g. g++ (for CUDA also triton), or use runtime=torch-eager"
    )


def test_what_cannot_be_one_graph_is_refused(compiler: CountingCompiler, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch._dynamo.graph_break()
            return x

    monkeypatch.setattr(example_operations, "build", lambda spec: Broken())  # noqa: ARG005
    with pytest.raises(ConfigError, match="cannot compile relu_conv_bn in=4x43x43.*use runtime=torch-eager"):
        TorchCompile(RUNTIME).prepare(conv(43))
    assert not compiler.graphs


def test_a_missing_compiler_is_an_error() -> None:
    from torch._inductor import config

    with (
        config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}),
        pytest.raises(ConfigError, match="cannot compile add in=4x9x9.*[Nn]o working C\\+\\+ compiler.*install a C\\+\\+ compiler"),
    ):
        TorchCompile(RUNTIME).prepare(conv(9, "add"))


@COMPILES[1]
def test_inductor_computes_the_same() -> None:
    from torch._inductor import config

    x, y = torch.randn(2, 4, 9, 9), torch.randn(2, 4, 9, 9)
    add = example_operations.build(conv(9, "add"))
    with config.patch(cpp_cache_precompile_headers=False):  # which would take longer than all the rest
        call = TorchCompile(RUNTIME)._finish(add, (x, y), name="add")
    with torch.inference_mode():
        got = call(x, y)
        assert type(got) is torch.Tensor
        assert torch.equal(got, x + y)
