"""Mixed operations: every execution equals a plain weighted sum written here."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from nas.network.executions import EXECUTIONS
from nas.network.mixed import MixedOp, PerArchitecture, Select
from nas.network.network import Network
from nas.ops import OpSpec, build
from nas.ops.candidates import EdgeShape, candidate_specs
from nas.space.graph import Node
from nas.space.weights import Weights

OPS = ("max_pool_3x3", "skip_connect", "conv_3x3", "none", "sep_conv_3x3", "dil_sep_conv_3x3_d2")
UP = ("transposed_conv", "resize")

pytestmark = pytest.mark.parametrize("execution", list(EXECUTIONS))


def edge_node(stride: int = 1) -> Node:
    edge = EdgeShape(in_channels=4, out_channels=4, height=9, width=7, stride=stride)
    return _mixed_node(candidate_specs(OPS, edge), inputs=1)


def up_node() -> Node:
    def spec(kind: str) -> OpSpec:
        return OpSpec(kind=kind, in_channels=4, height=5, width=4, out_channels=4, out_height=9, out_width=7)

    return _mixed_node({kind: spec(kind) for kind in UP}, inputs=2)


def _mixed_node(specs: Mapping[str, OpSpec], *, inputs: int) -> Node:
    return Node(
        name="edge",
        module="edge",
        role="mixed",
        inputs=tuple(range(inputs)),
        decisions=("edge",),
        specs={(i,): spec for i, spec in enumerate(specs.values())},
        option_names=(tuple(specs),),
    )


def plain_sum(node: Node, z: Tensor, inputs: tuple[Tensor, ...], modules: Mapping[str, nn.Module]) -> Tensor:
    """sum_k z_k o_k(x), image by image where the weights are."""
    (some,) = {
        (s.out_channels, -(-inputs[0].shape[2] // s.stride), -(-inputs[0].shape[3] // s.stride)) for s in node.specs.values()
    }
    size = inputs[1].shape[2:] if len(inputs) > 1 else some[1:]
    total = torch.zeros(inputs[0].shape[0], some[0], *size)
    for k, option in enumerate(node.option_names[0]):
        if option in modules:
            output = modules[option](*inputs)
            scaled = [(z[k] if z.dim() == 1 else z[n, k]) * output[n] for n in range(len(output))]
            total = total + torch.stack(scaled)
    return total


def twins(node: Node, mixed: nn.Module) -> nn.ModuleDict:
    """The candidates once more, built from their specs, with the weights of the mixed operation."""
    built = nn.ModuleDict({o: build(s) for o, s in zip(node.option_names[0], node.specs.values(), strict=True) if o != "none"})
    state = {name.removeprefix("candidates."): value for name, value in mixed.state_dict().items()}
    built.load_state_dict(state)
    return built


def _weights(shape: tuple[int, ...]) -> Tensor:
    return torch.softmax(torch.randn(shape, generator=torch.Generator().manual_seed(1)), dim=-1).requires_grad_()


def _inputs(node: Node) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(2)
    if len(node.inputs) == 1:
        return (torch.randn(3, 4, 9, 7, generator=generator, requires_grad=True),)
    return torch.randn(3, 4, 5, 4, generator=generator, requires_grad=True), torch.zeros(3, 1, 9, 7)


@pytest.mark.parametrize("per_image", [False, True], ids=["z [q]", "z [N, q]"])
@pytest.mark.parametrize("node", [edge_node(1), edge_node(2), up_node()], ids=["stride 1", "stride 2", "up"])
def test_outputs_gradients_and_statistics_are_those_of_the_plain_sum(execution: str, node: Node, per_image: bool) -> None:
    mixed = EXECUTIONS[execution](node).train()
    reference = twins(node, mixed).train()
    q = len(node.specs)
    z, z_twin = _weights((3, q) if per_image else (q,)), _weights((3, q) if per_image else (q,))
    inputs, inputs_twin = _inputs(node), _inputs(node)
    output = mixed(Weights({"edge": z}, {}), *inputs)
    expected = plain_sum(node, z_twin, inputs_twin, reference)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)
    probe = torch.randn(output.shape, generator=torch.Generator().manual_seed(3))
    (output * probe).sum().backward()
    (expected * probe).sum().backward()
    torch.testing.assert_close(z.grad, z_twin.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(inputs[0].grad, inputs_twin[0].grad, rtol=1e-4, atol=1e-5)
    gradients = {name.removeprefix("candidates."): p.grad for name, p in mixed.named_parameters()}
    torch.testing.assert_close(gradients, {name: p.grad for name, p in reference.named_parameters()}, rtol=1e-4, atol=1e-5)
    statistics = {name.removeprefix("candidates."): b for name, b in mixed.named_buffers()}
    torch.testing.assert_close(statistics, dict(reference.named_buffers()))
    assert all(int(b) == 1 for name, b in statistics.items() if name.endswith("num_batches_tracked"))


@pytest.mark.parametrize("node", [edge_node(2), up_node()], ids=["edge", "up"])
def test_state_dict_holds_each_candidate_but_none_under_its_own_name(execution: str, node: Node) -> None:
    expected = {
        f"candidates.{option}.{key}"
        for option, spec in zip(node.option_names[0], node.specs.values(), strict=True)
        if option != "none"
        for key in build(spec).state_dict()
    }
    assert set(EXECUTIONS[execution](node).state_dict()) == expected


@pytest.mark.parametrize("drawn", range(len(OPS)))
def test_a_sampled_pass_runs_the_drawn_candidate_alone(execution: str, drawn: int) -> None:
    node = edge_node(2)
    mixed = EXECUTIONS[execution](node).train()
    calls: list[str] = []
    for name, candidate in mixed.get_submodule("candidates").named_children():
        candidate.register_forward_hook(lambda *_, name=name: calls.append(name))
    before = {name: buffer.clone() for name, buffer in mixed.named_buffers()}
    z = torch.nn.functional.one_hot(torch.tensor(drawn), len(OPS)).float()
    inputs = _inputs(node)
    output = mixed(Weights({"edge": z}, {"edge": drawn}), *inputs)
    assert calls == ([] if OPS[drawn] == "none" else [OPS[drawn]])
    assert output.shape == (3, 4, 5, 4)
    for name, buffer in mixed.named_buffers():
        touched = name.startswith(f"candidates.{OPS[drawn]}.")
        assert torch.equal(buffer, before[name]) != touched, name
    full = EXECUTIONS[execution](node).train()
    full.load_state_dict({**mixed.state_dict(), **before})
    torch.testing.assert_close(output, full(Weights({"edge": z}, {}), *inputs))


def test_the_gradient_of_a_sampled_pass_reaches_all_logits_through_the_drawn_weight(execution: str) -> None:
    node = edge_node()
    mixed = EXECUTIONS[execution](node)
    logits = torch.randn(len(OPS), generator=torch.Generator().manual_seed(4), requires_grad=True)
    soft = torch.softmax(logits, dim=-1)
    z = torch.nn.functional.one_hot(torch.tensor(2), len(OPS)).float() + soft - soft.detach()
    (x,) = _inputs(node)
    output = mixed(Weights({"edge": z}, {"edge": 2}), x)
    output.sum().backward()
    p = soft.detach()
    inner = float((output / z[2]).detach().sum())
    expected = inner * p[2] * (torch.eye(len(OPS))[2] - p)  # d p_2 / d logits
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, expected, rtol=1e-4, atol=1e-4)


def test_a_drawn_none_is_a_map_of_zeros(execution: str) -> None:
    node = edge_node(2)
    z = torch.eye(len(OPS))[3]
    output = EXECUTIONS[execution](node)(Weights({"edge": z}, {"edge": 3}), torch.randn(2, 4, 11, 6))
    assert torch.equal(output, torch.zeros(2, 4, 6, 3))


def test_an_edge_whose_only_candidate_is_none_is_zero_whatever_its_weight(execution: str) -> None:
    node = _mixed_node(candidate_specs(("none",), EdgeShape(in_channels=4, out_channels=4, height=9, width=7)), inputs=1)
    output = EXECUTIONS[execution](node)(Weights({"edge": torch.ones(1)}, {}), torch.randn(2, 4, 9, 7))
    assert torch.equal(output, torch.zeros(2, 4, 9, 7))


def _select_node() -> Node:
    spec = OpSpec(kind="identity", in_channels=1, height=2, width=2, out_channels=1, out_height=2, out_width=2)
    return Node(
        name="path",
        module="path",
        role="select",
        inputs=(0, 1),
        decisions=("path",),
        specs={(0,): spec, (1,): spec},
        option_names=(("a", "b"),),
    )


def test_a_selection_weighs_its_inputs(execution: str) -> None:
    del execution
    select = Select(_select_node())
    a, b = torch.ones(2, 1, 2, 2), torch.full((2, 1, 2, 2), 10.0)
    shared = select(Weights({"path": torch.tensor([0.25, 0.75])}, {}), a, b)
    assert torch.equal(shared, torch.full((2, 1, 2, 2), 7.75))
    own = select(Weights({"path": torch.tensor([[1.0, 0.0], [0.5, 0.5]])}, {}), a, b)
    assert own[:, 0, 0, 0].tolist() == [1.0, 5.5]
    drawn = select(Weights({"path": torch.tensor([0.0, 1.0])}, {"path": 1}), a, b * float("nan"))
    assert drawn.isnan().all()


def test_an_architecture_set_runs_its_own_copy(execution: str) -> None:
    del execution
    spec = EdgeShape(in_channels=4, out_channels=4, height=9, width=7).spec("classifier")
    node = Node(name="stem", module="stem", role="per_architecture", inputs=(0,), decisions=(), specs={(): spec})
    both = PerArchitecture(node, ("teacher", "student"))
    x = torch.randn(1, 4, 9, 7)
    for name in ("teacher", "student"):
        assert torch.equal(both(Weights({}, {}, name), x), both.get_submodule(f"sets.{name}")(x))
    assert not torch.equal(both(Weights({}, {}, "teacher"), x), both(Weights({}, {}, "student"), x))


def test_a_plain_mixed_operation_refuses_several_decisions(execution: str) -> None:
    del execution
    spec = edge_node().specs[(0,)]
    node = Node(
        name="e",
        module="e",
        role="mixed",
        inputs=(0,),
        decisions=("a", "b"),
        specs={(0, 0): spec},
        option_names=(("x",), ("y",)),
    )
    with pytest.raises(ValueError, match="depends on one decision"):
        MixedOp(node)


def test_an_unknown_execution_is_refused_with_the_known_ones(execution: str) -> None:
    from nas.space.graph import NetworkBuilder

    builder = NetworkBuilder((8, 8), {})
    with pytest.raises(ValueError, match=f"got execution 'magic', expected one of .*{execution}"):
        Network(builder.finish(logits=builder.image()), execution="magic")
