"""Activation checkpointing against keeping everything: values, gradients, statistics; what is kept; which parts `auto` takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import nas
from nas.errors import ConfigError
from nas.network.network import Network
from nas.network.recompute import AUTO_KEPT, Step, activation_px, computed_again, segments_of
from nas.ops import OpSpec
from nas.space.deployment import Deployment
from nas.space.graph import Graph, NetworkBuilder
from nas.space.search_space import SearchSpace
from nas.stages.search import search
from nas.stages.train import train
from nas.supernet.optimizers import frozen
from nas.supernet.supernet import Draw, Supernet
from search_spaces import all_spaces, searched_spaces
from tests.small_jobs import SIZE, assert_same_run, batch, random_genotype, rows, search_job, search_task, train_job

SMALL = {
    "lgcnet": {"num_cells": 3, "reduction_cells": [1, 2], "fused_cells": [0, 1, 2], "head_channels": 8, "guided_dim": 8},
    "gas": {"num_cells": 3, "reduction_cells": [1], "guided_dim": 8},
    "cas": {"num_cells": 3, "reduction_cells": [1, 2], "fused_cells": [0, 1, 2], "head_channels": 8},
    "fasterseg": {"layers": 5, "filters": 4},
    "squeezenas_small": {"stages": [[8, 2, 2], [12, 2, 2], [16, 2, 1]], "low_level_block": 1, "last_channels": 16},
}
QUICK = {"search__recalibrate": 0, "data__train": 2, "data__val": 1}
MODES = ("none", "auto", "all")


def space_of(name: str) -> SearchSpace:
    entry = all_spaces()[name]
    return entry.build(entry.config(**SMALL.get(name, {})))


def supernet_of(space: SearchSpace, mode: str, *, execution: str = "reference") -> Supernet:
    torch.manual_seed(0)
    graph = space.graph(Deployment((37, 45), space.search_channels, 5))
    network = Network(graph, execution=execution, architecture_sets=space.architecture_sets)
    network.checkpointing = mode
    return Supernet(space, network, [], generator=torch.Generator().manual_seed(4)).train()


def passes(supernet: Supernet, *, relaxation: str, dtype: torch.dtype, count: int = 2) -> list[Tensor]:
    """Values, then gradients, after passes whose gradients are added up, as those of a step are."""
    supernet.to(dtype)
    found: list[Tensor] = []
    generator = torch.Generator().manual_seed(6)
    for _ in range(count):
        images = torch.randn(2, 3, 37, 45, generator=torch.Generator().manual_seed(1), dtype=dtype)
        outputs, _ = supernet(images, Draw(relaxation, 1.0, generator, supernet.space.architecture_sets[0]))
        sum((one * one.detach().cos()).sum() for one in outputs).backward()
        found += outputs
    return [*found, *(torch.zeros(()) if p.grad is None else p.grad for p in supernet.parameters())]


def assert_equal_to(kept: Supernet, again: Supernet, values: tuple[list[Tensor], list[Tensor]], tolerance: float) -> None:
    largest = max(float(one.detach().abs().max()) for one in values[0])
    for one, other in zip(*values, strict=True):
        assert float((one - other).detach().abs().max()) <= tolerance * max(1.0, largest)
    for (name, one), (_, other) in zip(kept.named_buffers(), again.named_buffers(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("lgcnet", "all"),
        ("lgcnet", "auto"),
        ("gas", "all"),
        ("cas", "all"),
        ("fasterseg", "all"),
        ("squeezenas_small", "all"),
        pytest.param("squeezenas_large", "all", marks=pytest.mark.slow),
        pytest.param("squeezenas_xlarge", "all", marks=pytest.mark.slow),
    ],
)
def test_values_gradients_and_statistics_are_those_of_keeping_everything(name: str, mode: str) -> None:
    space = space_of(name)
    execution = "fused" if name in ("lgcnet", "cas") else "reference"
    kept, again = (supernet_of(space, which, execution=execution) for which in ("none", mode))
    count = 1 if name.startswith("squeezenas") else 2
    results = tuple(passes(one, relaxation="soft", dtype=torch.float64, count=count) for one in (kept, again))
    assert_equal_to(kept, again, (results[0], results[1]), 1e-9)
    assert any(float(one.detach().abs().max()) > 0 for one in results[0][2:])


@pytest.mark.parametrize(
    ("name", "execution", "relaxation"),
    [("lgcnet", "reference", "soft"), ("lgcnet", "fused", "soft"), ("lgcnet", "reference", "sampled"), ("lgcnet", "fused", "hard")],
)
def test_float32_is_equal_too_in_both_executions_and_where_one_operation_was_drawn(
    name: str, execution: str, relaxation: str
) -> None:
    space = space_of(name)
    kept, again = (supernet_of(space, which, execution=execution) for which in ("none", "all"))
    results = tuple(passes(one, relaxation=relaxation, dtype=torch.float32) for one in (kept, again))
    assert_equal_to(kept, again, (results[0], results[1]), 1e-5)


def tracked(network: nn.Module) -> set[int]:
    return {int(buffer) for name, buffer in network.named_buffers() if name.endswith("num_batches_tracked")}


def test_statistics_move_once_a_pass() -> None:
    supernet = supernet_of(space_of("lgcnet"), "all", execution="fused")
    passes(supernet, relaxation="soft", dtype=torch.float32)
    assert tracked(supernet) == {2}


def test_what_is_frozen_stays_without_gradient_and_the_rest_has_that_of_keeping_everything() -> None:
    space = space_of("lgcnet")
    results = []
    for mode in ("none", "all"):
        supernet = supernet_of(space, mode)
        with frozen(supernet.weight_parameters()):
            passes(supernet, relaxation="soft", dtype=torch.float64)
        assert all(parameter.grad is None for parameter in supernet.weight_parameters())
        results.append([parameter.grad for parameter in supernet.arch_parameters()])
    for one, other in zip(*results, strict=True):
        assert one is not None
        assert torch.allclose(one, other, rtol=1e-9, atol=0)


def test_mixed_precision_is_computed_again_in_mixed_precision() -> None:
    space = space_of("lgcnet")
    results = []
    for mode in ("none", "all"):
        supernet = supernet_of(space, mode)
        images, _ = batch()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            (logits,), _ = supernet(images, Draw("soft", 1.0, torch.Generator().manual_seed(6)))
        logits.float().square().mean().backward()
        results.append([p.grad for p in supernet.parameters()])
    for one, other in zip(*results, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


def test_an_evaluation_or_a_pass_without_gradients_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("nas.network.network.computed_again", refuse)
    supernet = supernet_of(space_of("lgcnet"), "all")
    draw = Draw("soft", 1.0, torch.Generator().manual_seed(6))
    with torch.no_grad():
        supernet(batch()[0], draw)
    supernet.eval()(batch()[0], draw)
    with pytest.raises(AssertionError, match="computed again"):
        supernet.train()(batch()[0], draw)


def saved_bytes(run: Callable[[], Tensor], parameters: nn.Module) -> int:
    """Bytes of what autograd keeps of a pass beside the parameters, each storage counted once."""
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters.parameters()}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    del result
    return sum(sizes.values())


@pytest.mark.parametrize("execution", ["reference", "fused"])
def test_few_activations_are_kept(execution: str) -> None:
    space = space_of("lgcnet")
    kept = {}
    for mode in MODES:
        supernet = supernet_of(space, mode, execution=execution)
        draw = Draw("soft", 1.0, torch.Generator().manual_seed(6))
        kept[mode] = saved_bytes(lambda net=supernet, how=draw: net(batch(num=4)[0], how)[0][0].sum(), supernet)
    assert kept["all"] < 0.15 * kept["none"]
    assert kept["all"] < kept["auto"] < 0.75 * kept["none"]


def chain(*, shared: bool) -> Graph:
    """Three parts, one convolution with batch norm each; the first and the last of one module where it is shared."""
    builder = NetworkBuilder((8, 8), {})
    value = builder.image()
    size = {"in_channels": 3, "height": 8, "width": 8, "out_channels": 3, "out_height": 8, "out_width": 8, "kernel": 3}
    for part in range(3):
        module = "cells.0.conv" if shared and part == 2 else None
        value = builder.op(f"cells.{part}.conv", OpSpec(kind="relu_conv_bn", **size), value, module_name=module)
    return builder.finish(logits=value)


@pytest.mark.parametrize("again", [(True, True, True), (True, False, False), (False, False, True)])
def test_a_module_that_runs_in_two_parts_counts_twice_and_its_gradients_add_up(again: tuple[bool, ...]) -> None:
    results = []
    for flags in ((False, False, False), again):
        torch.manual_seed(0)
        network = Network(chain(shared=True)).double().train()
        images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        network(images)  # makes the plan
        (plan,) = network._plans.values()
        conv = [s for s in plan.segments if s.part != "image"]
        plan.segments[-3:] = [segment._replace(again=flag) for segment, flag in zip(conv, flags, strict=True)]
        network(images).square().sum().backward()
        results.append([*(p.grad for p in network.parameters()), *network.buffers()])
        assert tracked(network) == {2, 4}  # the pass that made the plan counts as well
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=0)


def test_random_numbers_are_drawn_anew_as_they_were() -> None:
    x = torch.ones(1000, requires_grad=True)
    torch.manual_seed(0)
    values = computed_again(lambda inside: {1: nn.functional.dropout(inside[0] * 2)}, {0: x}, [])
    after = torch.rand(())
    values[1].sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, values[1].detach())  # 4 where an element was kept, else 0
    torch.manual_seed(0)
    nn.functional.dropout(torch.ones(1000))
    assert torch.equal(after, torch.rand(()))


@pytest.mark.parametrize("name", list(searched_spaces()))
def test_auto_takes_the_largest_parts_until_half_of_the_activations_are_left(name: str) -> None:
    space = space_of(name)
    graph = space.graph(Deployment((64, 96), 8, 5))
    schedule: list[Step] = [(index, []) for index in range(len(graph.nodes))]
    segments = segments_of(graph, schedule, "auto")
    sizes = [sum(activation_px(graph.nodes[index]) for index, _ in segment.steps) for segment in segments]
    again = [size for size, segment in zip(sizes, segments, strict=True) if segment.again]
    left = [size for size, segment in zip(sizes, segments, strict=True) if not segment.again]
    assert sum(left) <= AUTO_KEPT * sum(sizes)
    assert min(again) >= max(left)
    assert sum(left) + min(again) > AUTO_KEPT * sum(sizes)
    assert [segment.part for segment in segments_of(graph, schedule, "all") if not segment.again] == ["image"]
    assert not any(segment.again for segment in segments_of(graph, schedule, "none"))


def test_the_segments_of_lgcnet_are_stem_cells_and_heads() -> None:
    space = space_of("lgcnet")
    graph = space.graph(Deployment(SIZE, 4, 5))
    segments = segments_of(graph, [(index, []) for index in range(len(graph.nodes))], "all")
    assert [segment.part for segment in segments] == ["image", "stem", *(f"cells.{i}" for i in range(3)), "fusion", "classifier"]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="got checkpointing 'some', expected one of none, auto, all"):
        Network(chain(shared=False)).checkpointing = "some"
    with pytest.raises(ConfigError, match="trainer.checkpointing: got 'some'"):
        search_job(trainer__checkpointing="some")


@pytest.mark.parametrize("level", ["single", "bilevel"])
def test_a_search_is_the_same_with_checkpointing(tmp_path: Path, level: str) -> None:
    for mode in ("none", "all"):
        job = search_job(tmp_path / mode, trainer__checkpointing=mode, search__level=level, search__max_steps=2, **QUICK)
        search(job, nas.build_space(job.space))
    assert_same_run(tmp_path / "none", tmp_path / "all")


def test_a_search_goes_on_with_other_checkpointing(tmp_path: Path) -> None:
    for mode, epochs, resume in (("all", 1, None), ("auto", 2, str(tmp_path))):
        job = search_job(tmp_path, trainer__checkpointing=mode, search__epochs=epochs, resume=resume, **QUICK)
        search(job, nas.build_space(job.space))
    assert [row["step"] for row in rows(tmp_path, "step")] == [1, 2]


def test_a_training_is_the_same_with_checkpointing(tmp_path: Path) -> None:
    random_genotype(tmp_path / "g.yaml")
    for mode in ("none", "all"):
        train(train_job(tmp_path / "g.yaml", tmp_path / mode, trainer__checkpointing=mode, train__epochs=1), all_spaces())
    assert_same_run(tmp_path / "none", tmp_path / "all")


def test_the_step_of_a_search_computes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(run: Callable[..., dict[int, Tensor]], inputs: dict[int, Tensor], modules: list[nn.Module]) -> dict[int, Tensor]:
        calls.append(len(modules))
        return computed_again(run, inputs, modules)

    monkeypatch.setattr("nas.network.network.computed_again", counted)
    task = search_task(search_job(trainer__checkpointing="all"))
    task.step(*batch(), 0)
    assert len(calls) == 6  # stem, three cells, fusion, classifier; of the image nothing is kept
