"""DABNet's official names against a second implementation."""

from __future__ import annotations

import pytest
import torch

import nas
from nas.errors import CheckpointError
from tests.random_weights import as_if_trained
from tests.search_spaces.zoo.dabnet_reference import Reference


def reference() -> Reference:
    torch.manual_seed(0)
    built = Reference()
    for module in built.modules():
        if isinstance(module, torch.nn.PReLU):
            module.weight.data.normal_(0.25, 0.2)
    return as_if_trained(built)


@pytest.mark.parametrize("size", [(128, 256), (127, 191)])
def test_weights_under_official_names_compute_what_a_second_implementation_computes(size: tuple[int, int]):
    official = reference()
    network = nas.build(nas.load_genotype("zoo/dabnet")).eval()
    network.load_state_dict(nas.import_weights("zoo/dabnet", official.state_dict()))
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        expected, got = official(images), network(images)
    assert float((got - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_what_is_missing_left_over_or_of_another_shape_is_named():
    state = reference().state_dict()
    short = {name: value for name, value in state.items() if name != "bn_prelu_3.acti.weight"}
    with pytest.raises(CheckpointError, match=r"missing bn_prelu_3\.acti\.weight"):
        nas.import_weights("zoo/dabnet", short)
    with pytest.raises(CheckpointError, match=r"left over classifier\.0\.conv\.bias"):
        nas.import_weights("zoo/dabnet", {**state, "classifier.0.conv.bias": torch.zeros(19)})
    with pytest.raises(CheckpointError, match=r"bn_prelu_1\.acti\.weight has shape \[1\], expected \[35\]"):
        nas.import_weights("zoo/dabnet", {**state, "bn_prelu_1.acti.weight": torch.zeros(1)})
