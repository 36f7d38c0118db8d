"""Derivation of branches: the released architecture parameters, rules by hand, and what must hold of any parameters."""

from __future__ import annotations

import json

import pytest
import torch

from search_spaces.fasterseg.branches import decided_choices, read_branches
from search_spaces.fasterseg.config import OPS, STRIDES, FasterSegConfig
from search_spaces.fasterseg.derivation import Parameters, branch_score, choose_branches, derive_branch, derive_path
from tests.fasterseg_reference import FOLDER, NETWORKS, needs_reference

WIDTHS = (4, 6, 8, 10, 12)


def released(name: str) -> dict:
    return json.loads((FOLDER / f"arch_{name}.json").read_text())


def parameters_of(stated: dict) -> Parameters:
    alphas, ratios = (tuple(torch.tensor(one) for one in stated[key]) for key in ("alphas", "ratios"))
    return Parameters(alphas, tuple(torch.tensor(one) for one in stated["betas"][1:]), ratios)


def random_parameters(seed: int, layers: int = 16, columns: int = 5) -> Parameters:
    generator = torch.Generator().manual_seed(seed)

    def rows(*shapes: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        return tuple(torch.randn(shape, generator=generator) for shape in shapes)

    return Parameters(
        rows((layers, 5), (layers - 1, 5), (layers - 2, 5)),
        rows((layers - 2, 2), (layers - 3, 2)),
        rows((layers - 1, columns), (layers - 1, columns), (layers - 2, columns)),
    )


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_released_parameters_give_the_official_branches(name):
    stated = released(name)
    derived, parameters = stated["derived"], parameters_of(stated)
    head = round(12 * derived["options"]["head_width"])
    widths, keep = derived["options"]["width_mult_list_x12"], derived["options"]["ignore_skip"]
    for official in derived["branches"] + derived["unused_branches"]:
        assert derive_path(parameters, official["last"]) == official["before_compaction"]["path"]
        branch = derive_branch(parameters, 8 * 2 ** official["last"], widths=widths, head_width=head, keep_layers=keep)
        assert [layer.op for layer in branch.layers] == official["ops"]
        assert [layer.stride for layer in branch.layers] == [STRIDES[scale] for scale in official["path"]]
        assert [layer.width for layer in branch.layers] == [*official["widths_x12"], head]


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_released_scores_choose_the_official_branches(name):
    stored, derived = released(name)["stored"], released(name)["derived"]
    with_8, with_16 = branch_score(stored["mIoU02"], stored["latency02"]), branch_score(stored["mIoU12"], stored["latency12"])
    assert derived["objective"] == pytest.approx({"[2, 0]": with_8, "[2, 1]": with_16}, rel=1e-6)
    assert choose_branches(with_8, with_16) == "32+16"
    assert choose_branches(0.5, 0.4) == "32+8"
    assert choose_branches(0.4, 0.4) == "32+16"


@pytest.mark.parametrize("layers", [8, 11, 16])
@pytest.mark.parametrize("seed", range(20))
def test_what_is_derived_is_a_network_and_keeps_the_parameters(seed, layers):
    parameters = random_parameters(seed, layers)
    for alpha in parameters.alphas:
        alpha[:, 0] += 1.5  # many skips
    before = [one.clone() for group in (parameters.alphas, parameters.betas, parameters.ratios) for one in group]
    config = FasterSegConfig(layers=layers)
    branches = {end: derive_branch(parameters, end, widths=WIDTHS, head_width=8, keep_layers=False) for end in STRIDES}
    for ends in ((32, 16), (32, 8)):
        pair = tuple(branches[end] for end in ends)
        assert read_branches(decided_choices(pair, config, stem_width=4, head_width=8), config) == pair
    for scale, end in enumerate(STRIDES):
        assert round(layers / 3) + 2 * scale <= len(branches[end].layers) <= layers
    after = [one for group in (parameters.alphas, parameters.betas, parameters.ratios) for one in group]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_the_path_of_two_downs_is_the_best_pair(seed):
    parameters, best = random_parameters(seed), (0.0, None)
    first, second = (beta.softmax(-1)[:, 0] for beta in parameters.betas)
    for n in range(16 - 4):
        for m in range(1, n - 1):
            if float(first[m] * second[n]) > best[0]:
                best = (float(first[m] * second[n]), (m + 1, n + 2))
    path = derive_path(parameters, 2)
    assert tuple(layer for layer in range(15) if path[layer] < path[layer + 1]) == best[1]


def all_skips(share: list[float]) -> Parameters:
    """16 layers at 1/8, all of which choose the skip, with the given logits; the next best operator is conv_2x."""
    parameters = random_parameters(0)
    for alpha in parameters.alphas:
        alpha.zero_()
        alpha[:, 3] = 0.5
        alpha[:, 0] = torch.tensor(share[: len(alpha)])
    return parameters


def test_as_many_skips_are_left_out_as_the_least_length_allows_most_probable_first():
    parameters = all_skips([1.0 + layer for layer in range(16)])
    branch = derive_branch(parameters, 8, widths=WIDTHS, head_width=8, keep_layers=False)
    assert [layer.op for layer in branch.layers] == ["conv_2x"] * 5  # the first five have the least of a skip
    widths = [WIDTHS[int(row.argmax())] for row in parameters.ratios[0][:4]]
    assert [layer.width for layer in branch.layers] == [*widths, 8]


def test_a_down_is_never_left_out_and_something_is_kept_behind_it():
    parameters = all_skips([1.0] * 16)
    parameters.betas[0].zero_()
    parameters.betas[0][12, 0] = 9.0  # down in layer 12, the last that may
    branch = derive_branch(parameters, 16, widths=WIDTHS, head_width=8, keep_layers=False)
    assert derive_path(parameters, 1) == [0] * 13 + [1] * 3
    assert [layer.stride for layer in branch.layers][-1] == 16
    assert len(branch.layers) >= 7


def test_without_skips_every_layer_is_kept():
    branch = derive_branch(all_skips([5.0] * 16), 8, widths=WIDTHS, head_width=8, keep_layers=True)
    assert [layer.op for layer in branch.layers] == ["conv_2x"] * 16
    assert "conv_2x" in OPS


def test_too_few_layers_are_refused():
    with pytest.raises(ValueError, match="got architecture parameters of 7 layers, expected at least 8"):
        derive_path(random_parameters(0, layers=7), 2)
