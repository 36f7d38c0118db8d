"""Derived networks of LGCNet against the supernet, and against what hooks see of their forward pass."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.network.network import Network
from nas.network.supernet_weights import copy_weights
from nas.ops import OpSpec, macs, modules
from nas.space.deployment import Deployment
from nas.space.graph import Graph
from nas.space.weights import Weights, one_hot
from nas.supernet.relaxation import sample
from search_spaces.lgcnet.config import LGCNetConfig
from search_spaces.lgcnet.space import LGCNet

FULL = LGCNet(LGCNetConfig())
SMALL = LGCNet(LGCNetConfig(num_cells=3, reduction_cells=[1, 2], fused_cells=[0, 1, 2]))
HEADLESS = LGCNet(LGCNetConfig(num_cells=3, reduction_cells=[1], head="none"))


def randomise(network: nn.Module, *, seed: int = 0) -> nn.Module:
    """Random weights and statistics of a size that keeps maps alive, so that a wrong copy would be seen."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in (
                (module.weight.data, 0.5),
                (module.bias.data, -0.5),
                (module.running_mean, -0.5),
                (module.running_var, 0.5),
            ):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return network.eval()


def sparse_choices(space: LGCNet, generator: torch.Generator) -> dict[str, str]:
    """A valid architecture with one operation into each node, three times out of four from the older input."""
    decided = dict(space.random_choices(generator))
    for cell in range(space.num_cells):
        for older, others in ((0, (1,)), (2, (3, 4))):
            drawn = torch.randint(4 * len(others), (), generator=generator).item()
            kept = others[int(drawn)] if drawn < len(others) else older
            for edge in (older, *others):
                decided[f"cells.{cell}.edge.{edge}"] = "conv_3x3" if edge == kept else "none"
    return decided


def graph_of(space: LGCNet, size: tuple[int, int], decided: dict[str, str] | None = None, *, channels: int = 4) -> Graph:
    return space.graph(Deployment(size, channels, 11), decided)


def _derived_and_supernet_agree(space: LGCNet, size: tuple[int, int], decided: dict[str, str], images: Tensor) -> None:
    torch.manual_seed(0)
    supernet = Network(graph_of(space, size))
    randomise(supernet)
    derived = Network(graph_of(space, size, decided)).eval()
    copy_weights(supernet, derived, decided)
    weights = one_hot(decided, space.choices())
    with torch.no_grad():
        expected = supernet(images, weights)
        torch.testing.assert_close(derived(images), expected, rtol=0, atol=1e-5)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("size", [(97, 131), (64, 96)])
@pytest.mark.parametrize("space", [SMALL, HEADLESS], ids=["dcfc", "no head"])
@pytest.mark.parametrize("seed", range(4))
def test_a_derived_network_with_copied_weights_is_the_supernet_with_one_hot_weights(
    space: LGCNet, size: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    decided = sparse_choices(space, generator) if seed % 2 else dict(space.random_choices(generator))
    _derived_and_supernet_agree(space, size, decided, torch.randn(2, 3, *size, generator=generator))


@pytest.mark.parametrize(("size", "seed"), [((97, 131), 0), ((97, 131), 1), ((360, 480), 2)])
def test_the_same_holds_in_the_full_space(size: tuple[int, int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    decided = sparse_choices(FULL, generator) if seed == 1 else dict(FULL.random_choices(generator))
    _derived_and_supernet_agree(FULL, size, decided, torch.randn(1, 3, *size, generator=generator))


def test_it_also_holds_when_all_candidates_run() -> None:
    generator = torch.Generator().manual_seed(0)
    decided = dict(SMALL.random_choices(generator))
    supernet = randomise(Network(graph_of(SMALL, (97, 131))))
    weights = one_hot(decided, SMALL.choices())
    images = torch.randn(2, 3, 97, 131, generator=generator)
    with torch.no_grad():
        everything = supernet(images, Weights(weights.values, {}))
        torch.testing.assert_close(everything, supernet(images, weights), rtol=0, atol=1e-5)


def test_a_network_described_for_one_size_runs_at_the_papers_size() -> None:
    decided = dict(FULL.random_choices(torch.Generator().manual_seed(0)))
    network = Network(graph_of(FULL, (97, 131), decided, channels=2)).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, 769, 1537)).shape == (1, 11, 769, 1537)


@pytest.mark.parametrize("relaxation", ["soft", "sampled"])
def test_the_supernet_runs_at_odd_sizes_and_trains_every_weight_it_uses(relaxation: str) -> None:
    logits = {c.group: torch.zeros(16, len(c.options), requires_grad=True) for c in FULL.choices()}
    weights = sample(logits, FULL.choices(), relaxation=relaxation, tau=1.0, generator=torch.Generator().manual_seed(0))
    network = Network(graph_of(FULL, (65, 97), channels=2))
    output = network(torch.randn(2, 3, 65, 97), weights)
    assert output.shape == (2, 11, 65, 97)
    output.square().sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None]
    assert (idle == []) == (relaxation == "soft")
    assert all(group.grad is not None for group in logits.values())


def spec_of(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> list[OpSpec]:
    """What a hooked call did, from real tensors and the convolutions inside."""
    kinds: dict[type[nn.Module], str] = {
        modules.ConvBNReLU: "conv_bn_relu",
        modules.ReLUConvBN: "relu_conv_bn",
        modules.ReLUSepConvBN: "relu_sep_conv_bn",
        modules.FactorizedReduce: "factorized_reduce",
        modules.MaxPool: "max_pool",
        modules.GridPool: "grid_pool",
        modules.TransposedConv: "transposed_conv",
        modules.Resize: "resize",
        modules.Classifier: "classifier",
        modules.Add: "add",
        modules.Concat: "concat",
        modules.Argmax: "argmax",
    }
    kernel, stride, dilation, groups = 1, 1, 1, 1
    if isinstance(module, modules.ConvBNReLU | modules.ReLUConvBN):
        (kernel, _), (stride, _), (dilation, _), groups = (
            module.conv.kernel_size,
            module.conv.stride,
            module.conv.dilation,
            module.conv.groups,
        )
    elif isinstance(module, modules.ReLUSepConvBN):
        depthwise = module.depthwise
        assert depthwise.groups == depthwise.in_channels
        (kernel, _), (stride, _), (dilation, _) = depthwise.kernel_size, depthwise.stride, depthwise.dilation
    elif isinstance(module, modules.MaxPool):
        kernel, stride = module.kernel, module.stride
    elif isinstance(module, modules.FactorizedReduce):
        stride, _ = module.conv_even.stride
    elif isinstance(module, modules.GridPool):
        kernel, stride = module.bins, module.stride
    elif isinstance(module, modules.Concat):
        groups = len(inputs)
    _, in_channels, height, width = inputs[0].shape
    _, out_channels, out_height, out_width = output.shape
    spec = OpSpec(
        kind=kinds[type(module)],
        in_channels=in_channels,
        height=height,
        width=width,
        out_channels=out_channels,
        out_height=out_height,
        out_width=out_width,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        groups=groups,
    )
    return [spec] * (len(inputs) - 1 if isinstance(module, modules.Add) else 1)


def hooked_specs(network: Network, size: tuple[int, int]) -> Counter[OpSpec]:
    """Specs of all operations that run while a label map is computed."""
    seen: Counter[OpSpec] = Counter()
    for module in network.modules():
        if type(module).__module__ == modules.__name__ and not isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, inputs, output: seen.update(spec_of(m, inputs, output)))
    with torch.no_grad():
        network.label_map(torch.randn(1, 3, *size))
    return seen


@pytest.mark.parametrize(("size", "count"), [((97, 131), 30), ((65, 118), 10)])
def test_the_operations_of_a_graph_are_those_of_the_real_forward_pass(size: tuple[int, int], count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for i in range(count):
        decided = sparse_choices(FULL, generator) if i % 3 == 2 else dict(FULL.random_choices(generator))
        graph = graph_of(FULL, size, decided, channels=2)
        stated = Counter(spec for _, spec in graph.operations())
        assert hooked_specs(Network(graph).eval(), size) == stated


def test_macs_of_a_graph_are_those_of_the_real_forward_pass() -> None:
    decided = dict(FULL.random_choices(torch.Generator().manual_seed(0)))
    graph = graph_of(FULL, (97, 131), decided)
    network = Network(graph).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.label_map(torch.randn(1, 3, 97, 131))
    assert counter.get_total_flops() == 2 * sum(macs(spec) for _, spec in graph.operations())


def test_what_nobody_reads_is_absent_from_the_derived_network() -> None:
    decided = {c.name: "conv_3x3" if "conv_3x3" in c.options else c.options[0] for c in FULL.choices()}
    for edge in (1, 3):  # cell 4 does not read its newer input, cell 3
        decided[f"cells.4.edge.{edge}"] = "none"
    for edge in (0, 2):  # nor cell 5 its older one, cell 3 again
        decided[f"cells.5.edge.{edge}"] = "none"
    names = list(Network(graph_of(FULL, (65, 97), decided)).state_dict())
    assert not any(name.startswith("cells.3.") for name in names)
    assert not any(name.startswith(("cells.4.input.1", "cells.4.edge.1.", "cells.5.input.0")) for name in names)
    for alive in ("cells.2.edge.4.", "cells.4.input.0.", "cells.4.edge.0.", "cells.5.input.1.", "cells.13."):
        assert any(name.startswith(alive) for name in names), alive


def test_two_hundred_random_genotypes_have_all_their_costs_in_the_plan() -> None:
    plan = set(FULL.plan(Deployment((97, 131), 4, 11)))
    generator = torch.Generator().manual_seed(0)
    for i in range(200):
        decided = sparse_choices(FULL, generator) if i % 4 == 3 else dict(FULL.random_choices(generator))
        missing = set(graph_of(FULL, (97, 131), decided).specs()) - plan
        assert not missing


def test_twenty_random_genotypes_run_at_odd_sizes() -> None:
    generator = torch.Generator().manual_seed(1)
    for i in range(20):
        decided = sparse_choices(FULL, generator) if i % 4 == 3 else dict(FULL.random_choices(generator))
        network = Network(graph_of(FULL, (65, 97), decided)).eval()
        with torch.no_grad():
            logits = network(torch.randn(1, 3, 65, 97))
        assert logits.shape == (1, 11, 65, 97)
        assert logits.isfinite().all()
