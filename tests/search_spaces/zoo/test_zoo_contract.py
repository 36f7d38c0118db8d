"""What every hand-made network owes: size and cost as counted elsewhere, any image size, gradients, predictions, files."""

from __future__ import annotations

import zlib
from contextlib import nullcontext

import pytest
import torch

from nas.cost.prediction import predict_graph
from nas.exporting.folding import fold_batch_norms
from nas.exporting.onnx_check import compare
from nas.exporting.onnx_graph import trace_onnx
from nas.network.build import build_network
from nas.network.norm_statistics import estimated_anew
from nas.ops import OpSpec, is_free, macs
from nas.reports.network_summary import count_idle, count_macs, count_parameters
from nas.space.deployment import Deployment
from search_spaces.zoo.networks import FILES, find_network
from tests.random_weights import as_if_trained
from tests.search_spaces.zoo.zoo_networks import NAMES, facts, published, small

ODD = (67, 93)
STATISTICS_AS_DRAWN = {"hyperseg_m", "hyperseg_s", "jetseg_workstation"}
"""Networks that statistics of noise make magnify rounding: kernels are made of maps of few pixels, or blocks add up values."""
FACTS = facts()
OVERFITTING_STEPS = 240
EDGES_OF_CONTEXT_NET = 864 * (512 * 1024 - 511 * 1023) + (864 + 2336 + 14016 + 6144) * (128 * 256 - 127 * 255)
STAGE_3_OF_ICNET = 512 * (256 + 1024) + 5 * 1024 * 256 + 6 * (9 * 256 + 1024) * 256
STAGE_4_OF_ICNET = 1024 * (512 + 2048) + 2 * 2048 * 512 + 3 * (9 * 512 + 2048) * 512
SCORES_OF_ICNET = 128 * 19 * (64 * 128 + 128 * 256)
OTHER_GMACS = {
    "context_net": EDGES_OF_CONTEXT_NET / 1e9,
    "icnet": -((STAGE_3_OF_ICNET + STAGE_4_OF_ICNET) * 64 * 128 + SCORES_OF_ICNET) / 1e9,
}
"""What a network has more than the implementation that was counted: edges of maps, which that one leaves out for want of padding;
less, what that one runs and does not use: stages on half of the image, auxiliary scores."""
COUNTED_WITH_AUXILIARY = {"icnet"}
"""Networks whose parameters were counted with those of their auxiliary heads."""


def test_every_network_has_its_file_its_genotype_and_its_facts():
    assert sorted(NAMES) == sorted(FILES) == sorted(FACTS)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_macs_are_those_that_were_counted_elsewhere(name: str):
    fact, network = FACTS[name], find_network(name)
    graph = published(name).deployed(Deployment(fact.size, network.stem_channels, fact.classes)).graph
    counted = graph if name in COUNTED_WITH_AUXILIARY else graph.deployed()
    parameters = sum(count_parameters(counted).values()) + count_idle(graph)
    assert round(parameters / 1e6, 4) == fact.parameters_m
    gmacs = (sum(count_macs(graph).values()) + sum(map(macs, graph.idle.values()))) / 1e9
    assert gmacs == pytest.approx(fact.gmacs + OTHER_GMACS.get(name, 0.0), rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_logits_at_the_size_of_odd_images_and_learns_in_every_weight(name: str):
    design = small(name, size=ODD)
    torch.manual_seed(0)
    network = build_network(design)
    outputs = network.forward_with_aux(torch.randn(2, 3, *design.deployment.input))
    assert {output.shape for output in outputs.values()} == {(2, 3, *design.deployment.input)}
    sum(output.square().mean() for output in outputs.values()).backward()
    assert [key for key, parameter in network.named_parameters() if parameter.requires_grad and parameter.grad is None] == []
    network.eval()
    images = torch.randn(1, 3, *design.deployment.input)
    with torch.no_grad():
        assert torch.equal(network.label_map(images), network(images).argmax(dim=1, keepdim=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_prediction_is_the_sum_of_look_ups_for_any_number_of_classes(name: str):
    def cost(spec: OpSpec) -> float:
        return 0.0 if is_free(spec) else 0.5 + zlib.crc32(spec.key.encode()) % 1009 / 100

    for classes in (1, 150):
        graph = small(name, size=(256, 512), classes=classes).graph
        operations = [spec for _, spec in graph.operations()]
        assert {spec for spec in operations if not is_free(spec)} == set(graph.specs())
        assert predict_graph(graph, cost).ms == pytest.approx(sum(map(cost, operations)), rel=1e-12)
        assert graph.nodes[graph.outputs["logits"]].spec.out_channels == classes


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 96), ODD])
@pytest.mark.parametrize("name", NAMES)
def test_its_onnx_file_agrees(name: str, size: tuple[int, int]):
    design = small(name, size=size)
    torch.manual_seed(0)
    network = as_if_trained(build_network(design), 0).eval()
    images = torch.randn(4, 3, *design.deployment.input)
    anew = nullcontext() if name in STATISTICS_AS_DRAWN else estimated_anew(network, network, [images])
    with anew:  # else gates are so steep that rounding alone opens and shuts them
        model = trace_onnx(fold_batch_norms(network), {"images": images[:1]}, output="logits", opset=17)
        found = compare(model, network, size=design.deployment.input, precision="fp32", output="logits")
    assert found.max_abs_difference <= 1e-4 * max(1.0, found.largest_logit)
    assert found.argmax_agreement > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_overfits_four_images(name: str):
    design = small(name, size=(64, 96))
    height, width = design.deployment.input
    torch.manual_seed(0)
    network = build_network(design)
    labels = torch.randint(0, 3, (4, 2, 3)).repeat_interleave(-(-height // 2), 1).repeat_interleave(-(-width // 3), 2)
    colours = torch.randn(3, 3)
    images = colours[labels].permute(0, 3, 1, 2) + 0.1 * torch.randn(4, 3, *labels.shape[1:])
    images, labels = images[..., :height, :width], labels[:, :height, :width]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(OVERFITTING_STEPS):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if losses[-1] < 0.35:
            break
    assert losses[-1] < 0.35 < losses[0]
