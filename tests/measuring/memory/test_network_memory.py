"""Memory of our networks: by hand for a small one, and against what PyTorch's allocator gives out for others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from nas.measuring.memory.map_lifetimes import peak
from nas.measuring.memory.network_memory import memory_of, traced
from nas.network.network import Labels, Network
from nas.ops import OpSpec, build, example_inputs
from nas.space.deployment import Deployment
from nas.space.design import load_design
from nas.space.graph import NetworkBuilder
from search_spaces import SEARCH_SPACES
from tests.contracts.test_op_contract import RUNNING
from tests.small_jobs import SIZE, random_genotype

PUBLISHED = ("squeezenas/lat_small", "fasterseg/student")


def graph_of(name, size=(64, 96), num_classes=5):
    design = load_design(name, SEARCH_SPACES)
    return design.deployed(replace(design.deployment, input=size, num_classes=num_classes)).graph


def allocated_at_most(module, image):
    """Most bytes that PyTorch's allocator has given out, the image among them."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        module(image)
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = image.nbytes
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_eager_peak_is_what_the_allocator_gives_out(name):
    """To the byte where it is at a full-size map; beside a convolution, oneDNN may hold a rearranged copy of its weights."""
    for size, num_classes in (((128, 256), 19), ((64, 96), 5)):
        graph = graph_of(name, size, num_classes)
        module, image = Labels(Network(graph.deployed()).eval()), torch.rand(1, 3, *size)
        found = memory_of(graph)
        assert traced(module, image).most == found.eager
        largest_weight = max(weight.nbytes for weight in module.parameters())
        beside = allocated_at_most(module, image) - found.eager
        assert beside == 0 if found.at.startswith("max ") else 0 <= beside <= largest_weight


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_a_planned_runtime_needs_is_at_most_what_eager_takes(name):
    found = memory_of(graph_of(name))
    assert found.eager / 2 <= found.activations < found.eager


class OnFirst(nn.Module):
    """An operation of several inputs as a module of the first."""

    def __init__(self, op, others):
        super().__init__()
        self.op = op
        self.others = others

    def forward(self, x):
        return self.op(x, *self.others)


def test_every_operation_takes_the_same_without_content():
    """Else a network with it could have no memory, or another one than when it runs."""
    found = {"meta": {}, "cpu": {}}
    for device, memories in found.items():
        for spec in RUNNING:
            with torch.device(device):
                first, *others = (torch.empty(x.shape).fill_(0.5) for x in example_inputs(spec))
                trace = traced(OnFirst(build(spec).eval(), others), first)
            memories[spec.key] = trace.most, peak(trace.steps, trace.outputs)
    assert found["meta"] == found["cpu"]


def conv_then_classifier():
    def spec(kind, channels_in, channels, kernel=1):
        sizes = {"height": 8, "width": 6, "out_height": 8, "out_width": 6}
        return OpSpec(kind=kind, in_channels=channels_in, out_channels=channels, kernel=kernel, **sizes)

    builder = NetworkBuilder((8, 6), {}, {})
    image = builder.image()
    features = builder.op("stem", spec("conv_bn_relu", 3, 16, kernel=3), image)
    logits = builder.op("head", spec("classifier", 16, 5), features)
    helper = builder.op("helper", spec("classifier", 16, 64), features)
    return builder.finish(logits=logits, labels=builder.op("labels", spec("argmax", 5, 1), logits), helper=helper)


def test_a_network_of_two_convolutions_by_hand():
    """The auxiliary output is no part of it; batch norm and ReLU run in place but in eager, where their results are maps too."""
    found, half = memory_of(conv_then_classifier()), memory_of(conv_then_classifier(), bytes_per_value=2)
    pixels, weights = 8 * 6, 3 * 16 * 9 + 4 * 16 + 16 * 5 + 5
    assert found.weights == 4 * weights
    assert (found.activations, found.at) == (4 * pixels * (16 + 5), "convolution 1x5x8x6")
    assert found.eager == 4 * pixels * (3 + 16 + 16)
    assert (half.weights, half.activations, half.eager) == tuple(n // 2 for n in (found.weights, found.activations, found.eager))


def test_labels_are_int64_whatever_the_precision():
    graph = graph_of("squeezenas/lat_small", num_classes=19)
    full, half = memory_of(graph), memory_of(graph, bytes_per_value=2)
    labels = 8 * 64 * 96
    assert full.at == half.at == "max 1x64x96"
    assert full.activations - labels == 2 * (half.activations - labels)


def test_an_undecided_graph_has_no_memory(tmp_path):
    genotype = random_genotype(tmp_path / "genotype.yaml")
    space = load_design(tmp_path / "genotype.yaml", SEARCH_SPACES).space
    assert memory_of(space.graph(genotype.deploy, genotype.choices)).activations > 0
    with pytest.raises(ValueError, match="is undecided"):
        memory_of(space.graph(Deployment(input=SIZE, init_channels=4, num_classes=11)))


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.Hardswish(), nn.PReLU(), nn.Sigmoid(), nn.ReLU6(), nn.BatchNorm2d(4)], ids=str
)
def test_activations_and_batch_norms_run_in_place_where_memory_is_planned(activation):
    trace = traced(nn.Sequential(nn.Conv2d(1, 4, 1), activation, nn.MaxPool2d(8)).eval(), torch.zeros(1, 1, 8, 8, device="cpu"))
    assert peak(trace.steps, trace.outputs) == (4 * 64 * (1 + 4), "convolution 1x4x8x8")
    assert trace.most == 4 * 64 * (1 + 4 + 4)
