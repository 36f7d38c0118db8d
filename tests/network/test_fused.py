"""`fused` execution against `reference`: outputs, gradients, batch-norm statistics, state; what is grouped and what is not."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from nas.config.settings import SearchSettings, execution_of
from nas.distributed.ranks import Ranks
from nas.distributed.synced_batch_norm import synchronise_batch_norms
from nas.network.fused import FusedOp, can_fuse, fused_groups, resizing_matrix, run_fused
from nas.network.mixed import MixedOp
from nas.network.network import Network
from nas.network.norm_statistics import estimated_anew
from nas.ops.candidates import CANDIDATE_OPS, EdgeShape, candidate_specs
from nas.space.deployment import Deployment
from nas.space.graph import Graph, Node
from nas.space.search_space import SearchSpace, open_choices
from nas.space.weights import Weights
from nas.supernet.supernet import Draw, Supernet
from search_spaces import all_spaces

ALL_OPS = tuple(CANDIDATE_OPS)
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
EDGES = 2
SMALL: dict[str, dict[str, object]] = {
    "lgcnet": {"num_cells": 3, "reduction_cells": [1, 2], "fused_cells": [0, 1, 2], "head_channels": 8, "guided_dim": 8},
    "gas": {},
    "cas": {"num_cells": 3, "reduction_cells": [1, 2], "fused_cells": [0, 1, 2], "head_channels": 8},
    "squeezenas_small": {"stages": [[8, 2, 2], [12, 2, 2], [16, 2, 1]], "low_level_block": 1, "last_channels": 16},
    "fasterseg": {"layers": 5, "filters": 4},
}


def space_of(name: str, **settings: object) -> SearchSpace:
    entry = all_spaces()[name]
    return entry.build(entry.config(**settings))


def graph_of(space: SearchSpace, size: tuple[int, int] = (37, 45)) -> Graph:
    return space.graph(Deployment(size, space.search_channels, 5))


def edge_nodes(*, channels: int, stride: int, ops: tuple[str, ...] = ALL_OPS, size: tuple[int, int] = (11, 14)) -> list[Node]:
    """Edges that leave the same node, with all candidates there are."""
    edge = EdgeShape(in_channels=channels, out_channels=channels, height=size[0], width=size[1], stride=stride)
    specs = candidate_specs(ops, edge)
    return [
        Node(
            name=f"edge.{e}",
            module=f"edge.{e}",
            role="mixed",
            inputs=(0,),
            decisions=(f"edge.{e}",),
            specs={(i,): spec for i, spec in enumerate(specs.values())},
            option_names=(tuple(specs),),
        )
        for e in range(EDGES)
    ]


def some_weights(names: Iterable[tuple[str, int]], *, batch: int | None = None, dtype: torch.dtype = torch.float64) -> Weights:
    """Leaves that sum to 1, with one exact zero each."""
    generator = torch.Generator().manual_seed(3)
    values = {}
    for name, q in names:
        logits = torch.randn((q,) if batch is None else (batch, q), generator=generator, dtype=dtype)
        if q > 2:
            logits[..., 1] = -torch.inf
        values[name] = torch.softmax(logits, dim=-1).requires_grad_()
    return Weights(values, {})


def assert_near(got: Tensor | None, wanted: Tensor | None, tolerance: float, name: str) -> None:
    """Relative in the largest value: small entries of a gradient are differences of large ones."""
    assert (got is None) == (wanted is None), name
    if got is not None and wanted is not None and wanted.numel():
        scale = wanted.detach().abs().max().item()
        difference = (got.detach() - wanted.detach()).abs().max().item()
        assert difference <= tolerance * max(scale, tolerance), f"{name}: {difference} of {scale}"


def pairs(one: nn.Module, other: nn.Module) -> list[tuple[str, Tensor, Tensor]]:
    """(name, tensor of one, tensor of the other) for all gradients and buffers."""
    twins = dict(other.named_parameters())
    gradients = [(name, p.grad, twins[name].grad) for name, p in one.named_parameters()]
    buffers = dict(other.named_buffers())
    return [*gradients, *((name, b, buffers[name]) for name, b in one.named_buffers())]


def compare(one: nn.Module, other: nn.Module, tolerance: float) -> None:
    for name, got, wanted in pairs(one, other):
        if name.endswith("num_batches_tracked"):
            assert torch.equal(got, wanted), name
        else:
            assert_near(got, wanted, tolerance, name)


def spread(module: nn.Module) -> None:
    """Batch norms as they are after some training: no gamma is 1, no mean 0."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.dim() == 1:
                tensor.add_(torch.rand(tensor.shape, generator=generator).to(tensor) * 0.5)
            assert tensor.isfinite().all(), name


@pytest.mark.parametrize("per_image", [False, True], ids=["z [q]", "z [N, q]"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [6, 34], ids=["narrow", "wide"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_edges_that_run_together_equal_their_plain_sums(
    dtype: torch.dtype, channels: int, stride: int, *, training: bool, per_image: bool
) -> None:
    ops = ALL_OPS
    nodes = edge_nodes(channels=channels, stride=stride, ops=ops)
    torch.manual_seed(0)
    plain = nn.ModuleList([MixedOp(node) for node in nodes])
    spread(plain)
    fused = nn.ModuleList([FusedOp(node) for node in nodes])
    fused.load_state_dict(plain.state_dict())
    sums: list[list[Tensor]] = []
    for modules in (fused, plain):
        modules.to(dtype).train(training)
        weights = some_weights([(n.name, len(ops)) for n in nodes], batch=3 if per_image else None, dtype=dtype)
        x = torch.randn(3, channels, 11, 14, generator=torch.Generator().manual_seed(1), dtype=dtype, requires_grad=True)
        if modules is fused:
            assert can_fuse(list(fused), weights)
            values = run_fused(list(fused), weights, x)
        else:
            values = [module(weights, x) for module in plain]
        generator = torch.Generator().manual_seed(2)
        total = sum((value * torch.randn(value.shape, generator=generator, dtype=dtype)).sum() for value in values)
        total.backward()
        sums.append([*values, x.grad, *(z.grad for z in weights.values.values())])
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    for number, (got, wanted) in enumerate(zip(*sums, strict=True)):
        assert_near(got, wanted, tolerance, f"value or gradient {number}")
    compare(fused, plain, tolerance)


def both(space: SearchSpace) -> tuple[Network, Network]:
    torch.manual_seed(0)
    graph = graph_of(space)
    reference = Network(graph, architecture_sets=space.architecture_sets)
    fused = Network(graph, execution="fused", architecture_sets=space.architecture_sets)
    fused.load_state_dict(reference.state_dict())
    return fused.double(), reference.double()


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("name", [name for name in SMALL if name != "fasterseg"])
def test_a_whole_supernet_equals_the_reference(name: str, memory_format: str) -> None:
    space = space_of(name, **SMALL[name])
    fused, reference = both(space)
    results = []
    for network in (fused, reference):
        weights = some_weights(
            [(choice.name, len(choice.options)) for choice in open_choices(space, space.architecture_sets[0])],
            batch=2 if space.noise_per_image else None,
        )
        images = torch.randn(2, 3, 37, 45, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        logits = network(images.contiguous(memory_format=FORMATS[memory_format]), weights)
        (logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)).sum().backward()
        results.append([logits, *(z.grad for z in weights.values.values())])
    for number, (got, wanted) in enumerate(zip(*results, strict=True)):
        assert_near(got, wanted, 1e-9, f"value or gradient {number}")
    compare(fused, reference, 1e-9)


@pytest.mark.parametrize("name", ["lgcnet", "fasterseg"])
def test_a_pass_of_a_search_has_the_same_gradients_down_to_the_logits_and_the_guided_module(name: str) -> None:
    space = space_of(name, **SMALL[name])
    fused, reference = both(space)
    outputs = []
    supernets = []
    for network in (fused, reference):
        supernet = Supernet(space, network, [], generator=torch.Generator().manual_seed(4)).double()
        if supernets:
            supernet.architectures.load_state_dict(supernets[0].architectures.state_dict())
        images = torch.randn(2, 3, 37, 45, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        draw = Draw("soft", 1.0, torch.Generator().manual_seed(6), space.architecture_sets[0])
        trained, _ = supernet(images, draw)
        generator = torch.Generator().manual_seed(2)
        sum((one * torch.randn(one.shape, generator=generator, dtype=torch.float64)).sum() for one in trained).backward()
        outputs.append(trained)
        supernets.append(supernet)
    for got, wanted in zip(*outputs, strict=True):
        assert_near(got, wanted, 1e-9, "output")
    compare(*supernets, 1e-9)
    moved = [p.grad for p in supernets[0].arch_parameters() if p.grad is not None]
    assert any(grad.abs().max() > 0 for grad in moved)


def test_a_second_pass_goes_on_with_the_statistics_of_the_first() -> None:
    (node, _) = edge_nodes(channels=6, stride=1)
    fused = FusedOp(node).double().train()
    plain = MixedOp(node).double().train()
    plain.load_state_dict(fused.state_dict())
    for seed in range(3):
        x = torch.randn(2, 6, 11, 14, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + seed
        weights = some_weights([(node.name, len(ALL_OPS))])
        fused(weights, x), plain(weights, x)
    compare(fused, plain, 1e-12)
    tracked = [int(b) for name, b in fused.named_buffers() if name.endswith("num_batches_tracked")]
    assert set(tracked) == {3}


def test_both_executions_have_the_same_state() -> None:
    graph = graph_of(space_of("lgcnet"))
    states = [Network(graph, execution=execution).state_dict() for execution in ("reference", "fused")]
    assert [(name, value.shape) for name, value in states[0].items()] == [(name, value.shape) for name, value in states[1].items()]


def test_the_edges_that_leave_a_node_of_a_cell_are_one_group() -> None:
    space = space_of("gas", num_cells=2, reduction_cells=[1], communication="none", head="none")
    graph = graph_of(space)
    groups = {tuple(graph.nodes[index].name for index in group) for group in fused_groups(graph)}
    for cell in range(2):
        edge = f"cells.{cell}.edge."
        assert {(edge + "0", edge + "2"), (edge + "1", edge + "3"), (edge + "4",)} <= groups
    assert len(groups) == 6


def test_a_module_that_two_nodes_share_is_left_out() -> None:
    first, second = edge_nodes(channels=4, stride=1)
    image = Node(name="image", module="image", role="input", inputs=(), decisions=(), specs={})
    assert fused_groups(Graph((image, first, second), {"logits": 2})) == ((1, 2),)
    shared = Node(**{field: getattr(first, field) for field in first.__dataclass_fields__} | {"name": "again"})
    assert fused_groups(Graph((image, first, shared), {"logits": 2})) == ()


@pytest.mark.parametrize("name", ["squeezenas_small", "fasterseg"])
def test_spaces_of_other_operations_have_no_groups(name: str) -> None:
    assert fused_groups(graph_of(space_of(name))) == ()


@pytest.mark.parametrize(("name", "last"), [("squeezenas_small", True), ("fasterseg", False)])
def test_channels_come_last_but_where_a_space_brings_its_own_modules(name: str, last: bool) -> None:  # noqa: FBT001
    space = space_of(name, **SMALL[name])
    fused, _ = both(space)
    seen: list[bool] = []
    first = next(module for module in fused.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last)))
    weights = Supernet(space, fused, [], generator=torch.Generator().manual_seed(4)).double().settled(space.architecture_sets[0])
    fused(torch.randn(2, 3, 37, 45, dtype=torch.float64), weights)
    assert seen == [last]


def test_where_an_edge_was_drawn_its_candidate_runs_alone_and_the_others_run_plain() -> None:
    nodes = edge_nodes(channels=6, stride=1)
    ops = [FusedOp(node) for node in nodes]
    values = {node.name: torch.full((len(ALL_OPS),), 1 / len(ALL_OPS)) for node in nodes}
    assert can_fuse(ops, Weights(values, {}))
    assert not can_fuse(ops, Weights(values, {"edge.0": 2}))


def test_statistics_of_several_processes_are_not_taken_from_one() -> None:
    network, _ = both(space_of("lgcnet"))
    ops = [module for module in network.modules() if isinstance(module, FusedOp)][:1]
    weights = Weights({ops[0].decision: torch.full((len(ops[0].options),), 0.1)}, {})
    assert can_fuse(ops, weights)
    synchronise_batch_norms(network, Ranks(0, 2, torch.device("cpu")))
    assert not can_fuse(ops, weights)


def test_who_listens_to_a_candidate_hears_it() -> None:
    (node, _) = edge_nodes(channels=6, stride=1)
    fused = FusedOp(node)
    heard: list[Tensor] = []
    handle = fused.candidates["sep_conv_3x3"].register_forward_hook(lambda *args: heard.append(args[2]))
    weights = some_weights([(node.name, len(ALL_OPS))], dtype=torch.float32)
    fused(weights, torch.randn(2, 6, 11, 14))
    assert len(heard) == 1
    handle.remove()
    fused(weights, torch.randn(2, 6, 11, 14))
    assert len(heard) == 1


def test_statistics_that_are_estimated_anew_are_the_reference_ones() -> None:
    nodes = edge_nodes(channels=6, stride=1)[:1]
    weights = some_weights([(nodes[0].name, len(ALL_OPS))])
    batches = [torch.randn(2, 6, 11, 14, generator=torch.Generator().manual_seed(s), dtype=torch.float64) + s for s in range(3)]
    fused, plain = FusedOp(nodes[0]).double(), MixedOp(nodes[0]).double()
    plain.load_state_dict(fused.state_dict())
    with (
        torch.no_grad(),
        estimated_anew(fused, lambda x: fused(weights, x), batches),
        estimated_anew(plain, lambda x: plain(weights, x), batches),
    ):
        compare(fused, plain, 1e-12)
        assert_near(fused(weights, batches[0]), plain(weights, batches[0]), 1e-12, "value")


def saved_bytes(network: Network, images: Tensor, weights: Weights) -> int:
    """Bytes of the distinct storages that the backward pass needs, parameters apart."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = network(images, weights)
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    total = sum(size for pointer, size in storages.items() if pointer not in own)
    assert output.requires_grad
    return total


def test_fused_needs_at_most_0_6_of_the_activations_of_the_reference() -> None:
    space = space_of("lgcnet")
    graph = graph_of(space, (90, 120))
    weights = some_weights([(choice.name, len(choice.options)) for choice in space.choices()], dtype=torch.float32)
    images = torch.randn(2, 3, 90, 120)
    reference, fused = (saved_bytes(Network(graph, execution=e), images, weights) for e in ("reference", "fused"))
    assert fused <= 0.6 * reference


@pytest.mark.parametrize("bins", [1, 2, 5])
def test_resizing_a_grid_is_a_product_with_a_matrix(bins: int) -> None:
    grid = torch.randn(2, 3, bins, bins, dtype=torch.float64, generator=torch.Generator().manual_seed(bins))
    wanted = nn.functional.interpolate(grid, size=(7, 4), mode="bilinear", align_corners=False)
    got = grid.flatten(2) @ resizing_matrix(bins, (7, 4), like=grid).t()
    torch.testing.assert_close(got.view(2, 3, 7, 4), wanted)


@pytest.mark.parametrize(
    ("relaxation", "given", "execution"),
    [
        ("soft", None, "fused"),
        ("hard", None, "fused"),
        ("sampled", None, "reference"),
        ("soft", "reference", "reference"),
        ("sampled", "fused", "fused"),
    ],
)
def test_the_execution_follows_the_relaxation_unless_it_is_given(relaxation: str, given: str | None, execution: str) -> None:
    assert execution_of(SearchSettings(relaxation=relaxation, execution=given)) == execution


def test_an_unknown_execution_is_refused_by_the_settings() -> None:
    with pytest.raises(Exception, match="search.execution: got 'quick', expected one of reference, fused"):
        SearchSettings(execution="quick")
