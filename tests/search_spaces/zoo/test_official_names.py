"""Weights under official names: what a second implementation computes with them is what our network computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

import nas
from nas.errors import CheckpointError
from nas.network.build import build_network
from nas.network.official_weights import own_names
from tests.random_weights import as_if_trained
from tests.search_spaces.zoo.dabnet_reference import DABNet
from tests.search_spaces.zoo.ddrnet_reference import DDRNet
from tests.search_spaces.zoo.fassd_net_reference import FASSDNet
from tests.search_spaces.zoo.jetseg_reference import JetSeg
from tests.search_spaces.zoo.pidnet_reference import PIDNet
from tests.search_spaces.zoo.regseg_reference import RegSeg
from tests.search_spaces.zoo.zoo_networks import small

REFERENCES: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, int], ...]]] = {
    "dabnet": (DABNet, ((128, 256), (127, 191))),
    "ddrnet_23_slim": (DDRNet, ((128, 256), (136, 248))),
    **{name: (partial(FASSDNet, name), ((128, 256), (131, 247))) for name in ("fassd_net", "fassd_net_l1", "fassd_net_l2")},
    "jetseg_workstation": (partial(JetSeg, "workstation", 2048), ((64, 128), (69, 123))),
    "jetseg_agx": (partial(JetSeg, "agx", 2048), ((64, 128), (69, 123))),
    "jetseg_nano": (partial(JetSeg, "nano", 2048), ((64, 128), (69, 123))),
    "jetseg_nano_512": (partial(JetSeg, "nano", 512), ((64, 128), (69, 123))),
    "pidnet_s": (PIDNet, ((128, 256), (131, 187))),
    "regseg": (RegSeg, ((128, 256), (99, 175))),
}
"""Network -> its second implementation, which may return scores at any size, and sizes of images that the official code takes."""


def reference_of(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return as_if_trained(make())


@pytest.mark.parametrize("name", REFERENCES)
def test_weights_under_official_names_compute_what_a_second_implementation_computes(name: str) -> None:
    make, sizes = REFERENCES[name]
    reference, network = reference_of(make), nas.build(nas.load_genotype(f"zoo/{name}")).eval()
    network.load_state_dict(nas.import_weights(f"zoo/{name}", reference.state_dict()))
    for size in sizes:
        images = torch.randn(1, 3, *size)
        with torch.no_grad():
            expected, got = functional.interpolate(reference(images), size, mode="bilinear"), network(images)
        assert float((got - expected).abs().max()) < 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("name", REFERENCES)
def test_what_is_missing_left_over_or_of_another_shape_is_named(name: str) -> None:
    state = reference_of(REFERENCES[name][0]).state_dict()
    weight = next(iter(state))
    short = {key: value for key, value in state.items() if key != weight}
    with pytest.raises(CheckpointError, match=rf"missing {weight}"):
        nas.import_weights(f"zoo/{name}", short)
    with pytest.raises(CheckpointError, match=r"left over another\.bias"):
        nas.import_weights(f"zoo/{name}", {**state, "another.bias": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=rf"{weight} has shape \[7\], expected"):
        nas.import_weights(f"zoo/{name}", {**state, weight: torch.zeros(7)})


def test_an_auxiliary_head_is_read_as_a_whole_or_is_as_drawn(caplog: pytest.LogCaptureFixture) -> None:
    name = "zoo/ddrnet_23_slim"
    state = reference_of(lambda: DDRNet(auxiliary=True)).state_dict()
    assert torch.equal(nas.import_weights(name, state)["aux8.conv.conv.weight"], state["seghead_extra.conv1.weight"])
    with pytest.raises(CheckpointError, match=r"missing seghead_extra\.conv2\.bias"):
        nas.import_weights(name, {key: value for key, value in state.items() if key != "seghead_extra.conv2.bias"})
    assert "auxiliary" not in caplog.text
    without = {key: value for key, value in state.items() if not key.startswith("seghead_extra")}
    with caplog.at_level("INFO", logger="nas"):
        drawn = nas.import_weights(name, without)
    assert f"weights: {name} has no auxiliary heads; theirs are as drawn" in caplog.text
    assert drawn.keys() == nas.build(nas.load_genotype(name)).state_dict().keys()


def test_weights_under_our_names_are_ours_though_some_of_the_official_names_are_the_same():
    for name in REFERENCES:
        design = small(name, size=(64, 64))
        with torch.device("meta"):
            state = build_network(design).state_dict()
        assert own_names(state, design=design, source=name) is state
