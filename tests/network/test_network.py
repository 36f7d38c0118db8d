"""`Network`: a walk over a graph."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nas.network.network import Network
from nas.network.supernet_weights import copy_weights
from nas.ops import OpSpec
from nas.space.choice import Choice
from nas.space.graph import Graph, NetworkBuilder, Value
from nas.space.weights import Weights, one_hot

OPTIONS = {"e": ("none", "skip", "conv"), "f": ("none", "skip", "conv")}
CHOICES = tuple(Choice(name, options, "alpha", row) for row, (name, options) in enumerate(OPTIONS.items()))


def spec(kind: str, value: Value, *, channels: int | None = None, kernel: int = 1) -> OpSpec:
    return OpSpec(
        kind=kind,
        in_channels=value.channels,
        height=value.height,
        width=value.width,
        out_channels=channels or value.channels,
        out_height=value.height,
        out_width=value.width,
        kernel=kernel,
    )


def edge(builder: NetworkBuilder, name: str, value: Value, *, module_name: str | None = None) -> Value | None:
    specs = {
        "none": spec("none", value),
        "skip": spec("identity", value),
        "conv": spec("relu_conv_bn", value, kernel=3),
    }
    return builder.choice(name, specs, value, module_name=module_name)


def graph_of(decided: dict[str, str] | None = None) -> Graph:
    """Two edges into a sum, a classifier, an auxiliary classifier and labels."""
    builder = NetworkBuilder((8, 6), OPTIONS, decided)
    image = builder.image()
    a = builder.op("stem.a", spec("conv_bn_relu", image, channels=4), image)
    total = builder.add("sum", [edge(builder, "e", a), edge(builder, "f", a)])
    logits = builder.op("head.main", spec("classifier", total, channels=5), total)
    helper = builder.op("head.helper", spec("classifier", total, channels=5), total)
    labels = builder.op("labels", spec("argmax", logits, channels=1), logits)
    return builder.finish(logits=logits, labels=labels, helper=helper)


def _count_calls(module: nn.Module) -> list[None]:
    calls: list[None] = []
    module.register_forward_hook(lambda *_: calls.append(None))
    return calls


def test_forward_runs_nothing_that_the_logits_do_not_need() -> None:
    network = Network(graph_of({"e": "conv", "f": "skip"})).eval()
    labels, helper = _count_calls(network.get_submodule("labels")), _count_calls(network.get_submodule("head.helper"))
    x = torch.randn(2, 3, 11, 9)
    logits = network(x)
    assert logits.shape == (2, 5, 11, 9)
    assert (len(labels), len(helper)) == (0, 0)
    assert torch.equal(network.label_map(x), logits.argmax(dim=1, keepdim=True))
    assert (len(labels), len(helper)) == (1, 0)
    outputs = network.forward_with_aux(x)
    assert list(outputs) == ["logits", "helper"]
    assert torch.equal(outputs["logits"], logits)
    assert not torch.equal(outputs["helper"], logits)


def test_modules_stand_under_the_names_of_their_nodes() -> None:
    network = Network(graph_of({"e": "conv", "f": "skip"}))
    assert {name.rpartition(".")[0] for name in network.state_dict()} == {
        "stem.a.conv",
        "stem.a.bn",
        "e.conv",
        "e.bn",
        "head.main.conv",
        "head.helper.conv",
    }
    assert isinstance(network.get_submodule("e.bn"), nn.BatchNorm2d)


@pytest.mark.parametrize("options", [("conv", "skip"), ("none", "conv"), ("conv", "conv"), ("skip", "none")])
def test_a_derived_network_with_copied_weights_computes_what_the_supernet_does(options: tuple[str, str]) -> None:
    decided = dict(zip(OPTIONS, options, strict=True))
    torch.manual_seed(0)
    supernet = Network(graph_of())
    x = torch.randn(2, 3, 8, 6)
    weights = one_hot(decided, CHOICES)
    supernet(x, Weights(weights.values, {}))  # moves all batch-norm statistics
    derived = Network(graph_of(decided))
    copy_weights(supernet, derived, decided)
    supernet.eval()
    derived.eval()
    torch.testing.assert_close(derived(x), supernet(x, weights), rtol=0, atol=1e-6)
    torch.testing.assert_close(derived(x), supernet(x, Weights(weights.values, {})), rtol=0, atol=1e-6)


def test_copied_weights_are_copies() -> None:
    decided = {"e": "conv", "f": "skip"}
    supernet, derived = Network(graph_of()), Network(graph_of(decided))
    copy_weights(supernet, derived, decided)
    with torch.no_grad():
        derived.get_submodule("e.conv").weight.zero_()
    assert supernet.get_submodule("e.candidates.conv.conv").weight.abs().sum() > 0


def _twice(*, second_decision: str = "e") -> Graph:
    builder = NetworkBuilder((8, 6), OPTIONS)
    value = builder.image()
    for i, name in enumerate(("e", second_decision)):
        specs = {
            "none": spec("none", value),
            "skip": spec("identity", value),
            "conv": spec("relu_conv_bn", value, kernel=3),
        }
        chosen = builder.choice(f"step.{i}", specs, value, decision=name, module_name="step.shared")
        assert chosen is not None
        value = chosen
    return builder.finish(logits=value)


def test_nodes_that_name_one_module_share_its_weights() -> None:
    torch.manual_seed(0)
    network = Network(_twice()).eval()
    assert {name.split(".candidates")[0] for name in network.state_dict()} == {"step.shared"}
    x = torch.randn(1, 3, 8, 6)
    conv = network.get_submodule("step.shared.candidates.conv")
    weights = Weights({"e": torch.tensor([0.0, 0.5, 0.5])}, {})
    once = 0.5 * x + 0.5 * conv(x)
    torch.testing.assert_close(network(x, weights), 0.5 * once + 0.5 * conv(once))


def test_nodes_that_follow_different_decisions_cannot_share_a_module() -> None:
    with pytest.raises(ValueError, match=r"step\.1.*step\.shared"):
        Network(_twice(second_decision="f"))


def test_nodes_of_different_operations_cannot_share_a_module() -> None:
    builder = NetworkBuilder((8, 6), {})
    image = builder.image()
    first = builder.op("first", spec("classifier", image), image, module_name="shared")
    second = builder.op("second", spec("classifier", first, channels=4), first, module_name="shared")
    with pytest.raises(ValueError, match="second: cannot share module 'shared' with first"):
        Network(builder.finish(logits=second))


def test_the_input_may_have_any_size() -> None:
    network = Network(graph_of({"e": "conv", "f": "none"})).eval()
    for size in ((8, 6), (1, 1), (13, 7)):
        assert network(torch.randn(1, 3, *size)).shape == (1, 5, *size)


def test_idle_weights_are_held_and_change_nothing_else() -> None:
    builder = NetworkBuilder((8, 6), {}, {})
    image = builder.image()
    logits = builder.op("head", spec("classifier", image, channels=5), image)
    without = builder.finish(logits=logits)
    builder.idle("head.spare.1", spec("bare_conv", logits))
    networks = []
    for graph in (without, builder.finish(logits=logits)):
        torch.manual_seed(0)
        networks.append(Network(graph))
    plain, holding = networks
    assert holding.state_dict().keys() - plain.state_dict().keys() == {"head.spare.1.conv.weight"}
    assert all(torch.equal(value, holding.state_dict()[name]) for name, value in plain.state_dict().items())
    calls = _count_calls(holding.get_submodule("head.spare.1"))
    output = holding(torch.randn(2, 3, 8, 6))
    output.sum().backward()
    assert not calls
    assert [name for name, weight in holding.named_parameters() if weight.grad is None] == ["head.spare.1.conv.weight"]
