"""Which skips are left out of a branch."""

from __future__ import annotations

import pytest
import torch

from search_spaces.fasterseg.config import FIDELITIES
from search_spaces.fasterseg.derivation.derivation import Parameters
from tests.search_spaces.fasterseg.derivation.random_lattices import WIDTHS, derive, random_parameters


def all_skips(share: list[float]) -> Parameters:
    """16 layers at 1/8, all of which choose the skip, with the given logits; the next best operator is conv_2x."""
    parameters = random_parameters(0)
    for alpha in parameters.alphas:
        alpha.zero_()
        alpha[:, 3] = 0.5
        alpha[:, 0] = torch.tensor(share[: len(alpha)])
    return parameters


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_as_many_skips_are_left_out_as_the_least_length_allows_most_probable_first(fidelity):
    parameters = all_skips([1.0 + layer for layer in range(16)])
    branch = derive(parameters, fidelity=fidelity)[8]
    assert [layer.op for layer in branch.layers] == ["conv_2x"] * 5  # the first five have the least of a skip
    widths = [WIDTHS[int(row.argmax())] for row in parameters.ratios[0][:4]]
    assert [layer.width for layer in branch.layers] == [*widths, 8]


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_down_is_never_left_out_and_something_is_kept_behind_it(fidelity):
    parameters = all_skips([1.0] * 16)
    parameters.betas[0][:] = torch.tensor([-9.0, 9.0])
    parameters.betas[0][12] = torch.tensor([9.0, -9.0])  # officially down in layer 12, the last that may
    branch = derive(parameters, fidelity=fidelity)[16]
    assert [layer.stride for layer in branch.layers][-1] == 16
    assert len(branch.layers) >= 7


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_without_skips_every_layer_is_kept(fidelity):
    branch = derive(all_skips([5.0] * 16), fidelity=fidelity, keep_layers=True)[8]
    assert [layer.op for layer in branch.layers] == ["conv_2x"] * 16
