"""Compiled training passes: the same results and state; a failure is one line, and eager goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import nas.network.compiling
from nas.config.settings import TrainerSettings
from nas.data import build_dataset
from nas.distributed.fabric import make_fabric
from nas.errors import ConfigError
from nas.network.compiling import compile_training
from nas.network.network import Network
from nas.ops import OpSpec
from nas.space.design import load_design
from nas.space.graph import NetworkBuilder
from nas.training.train_setup import make_task
from nas.training.train_task import TrainTask
from search_spaces import all_spaces
from tests.small_jobs import assert_same_state, batch, random_genotype, search_job, search_task, train_job


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


def counting(calls: list[int]) -> Callable[..., object]:
    """A compiler that runs what it is given, and notes how many operations that has."""

    def compiler(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        calls.append(len(graph.graph.nodes))
        return graph.forward

    return compiler


def failing(_: torch.fx.GraphModule, __: list[Tensor]) -> Callable[..., object]:
    raise RuntimeError("the compiler is on holiday\nfor long")


def training(path: Path, **settings: Any) -> TrainTask:
    random_genotype(path / "g.yaml")
    job = train_job(path / "g.yaml", **settings)
    splits = {f"{split}_set": build_dataset(job.data, split) for split in ("train", "val")}
    design = load_design(job.genotype, all_spaces())
    return make_task(job, design, all_spaces(), **splits, fabric=make_fabric(job.trainer))


def tiny(mode: str) -> Network:
    """Two convolutions with batch norm."""
    torch.manual_seed(0)
    builder = NetworkBuilder((8, 8), {})
    value = builder.image()
    size = {"in_channels": 3, "height": 8, "width": 8, "out_channels": 3, "out_height": 8, "out_width": 8, "kernel": 3}
    for cell in range(2):
        value = builder.op(f"cells.{cell}.conv", OpSpec(kind="relu_conv_bn", **size), value)
    network = Network(builder.finish(logits=value)).train()
    compile_training(network, mode)
    return network


def trained(network: Network) -> list[Tensor]:
    """Value, gradients and statistics after two passes."""
    for seed in range(2):
        value = network(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed)))
        value.square().sum().backward()
    return [value.detach(), *(p.grad for p in network.parameters() if p.grad is not None), *network.buffers()]


def test_a_training_pass_is_compiled_once_and_an_evaluation_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(nas.network.compiling, "COMPILER", counting(calls))
    network = tiny("default")
    with torch.no_grad():
        network(torch.randn(2, 3, 8, 8))
    network.eval()(torch.randn(2, 3, 8, 8))
    assert calls == []
    compiled, eager = tiny("default"), tiny("none")
    for one, other in zip(trained(compiled), trained(eager), strict=True):
        assert torch.equal(one, other)
    assert len(calls) == 1
    assert list(compiled.state_dict()) == list(eager.state_dict())


def test_a_failure_leaves_no_trace_but_one_line_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nas.network.compiling, "COMPILER", failing)
    with caplog.at_level(logging.WARNING, logger="nas"):
        found, wanted = trained(tiny("default")), trained(tiny("none"))
    (line,) = [record.getMessage() for record in caplog.records if record.name == "nas"]
    assert line == (
        "trainer.compile=default: cannot compile: RuntimeError: the compiler is on holiday; going on without, with the same results"
    )
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_a_training_step_runs_compiled_and_is_the_same_in_every_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(nas.network.compiling, "COMPILER", counting(calls))
    tasks = [training(tmp_path, trainer__compile=mode, train__ema=0.5) for mode in ("none", "default")]
    rows = [[task.step(*batch(step), step)[0] for step in range(2)] for task in tasks]
    assert calls  # one graph or several, at the first step
    assert rows[0] == rows[1]
    assert_same_state(tasks[0].state(), tasks[1].state())
    assert not [name for name in tasks[1].state()["network"] if "_orig_mod" in name]


@pytest.mark.slow
def test_a_failing_training_is_one_line_with_its_reason_and_eager_goes_on_from_the_same_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nas.network.compiling, "COMPILER", failing)
    tasks = [training(tmp_path, trainer__compile=mode) for mode in ("none", "default")]
    with caplog.at_level(logging.WARNING, logger="nas"):
        rows = [[task.step(*batch(step), step)[0] for step in range(2)] for task in tasks]
    (line,) = [record.getMessage() for record in caplog.records if record.name == "nas"]
    assert line.startswith("trainer.compile=default: cannot compile: ")
    assert "the compiler is on holiday" in line
    assert rows[0] == rows[1]
    assert_same_state(tasks[0].state(), tasks[1].state())


@pytest.mark.slow
@pytest.mark.parametrize("execution", ["reference", "fused"])
def test_a_search_step_runs_compiled_up_to_rounding(execution: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(nas.network.compiling, "COMPILER", counting(calls))
    tasks = [search_task(search_job(trainer__compile=mode, search__execution=execution)) for mode in ("none", "default")]
    rows = [task.step(*batch(), 0)[0] for task in tasks]
    assert calls
    assert rows[1] == pytest.approx(rows[0], rel=1e-5)
    states = [task.state()["supernet"] for task in tasks]
    assert list(states[0]) == list(states[1])
    for name, value in states[0].items():
        assert torch.allclose(value, states[1][name], rtol=1e-4, atol=1e-5), name


def test_what_was_drawn_runs_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(nas.network.compiling, "COMPILER", counting(calls))
    search_task(search_job(trainer__compile=True, search__relaxation="sampled")).step(*batch(), 0)
    assert calls == []


def test_without_a_c_compiler_training_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/nowhere/g++",))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)  # noqa: FBT003
    with caplog.at_level(logging.WARNING, logger="nas"):
        found, wanted = trained(tiny("default")), trained(tiny("none"))
    (line,) = [record.getMessage() for record in caplog.records if record.name == "nas"]
    assert line.startswith("trainer.compile=default: cannot compile: ")
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


def test_true_and_false_stand_for_default_and_none_and_other_names_are_refused() -> None:
    assert TrainerSettings(compile=True).compile == "default"
    assert TrainerSettings(compile=False).compile == "none"
    with pytest.raises(ConfigError, match="trainer.compile: got 'fast'"):
        TrainerSettings(compile="fast")
    with pytest.raises(ConfigError, match="got default with trainer.checkpointing=all, expected one of them"):
        TrainerSettings(compile=True, checkpointing="all")
