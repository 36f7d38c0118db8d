"""Derivation of branches: the released parameters, a second implementation, paths by enumeration, and rules by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import nas
from nas.errors import ConfigError
from search_spaces.fasterseg.config import FIDELITIES, STRIDES, FasterSegConfig
from search_spaces.fasterseg.deployed.branches import Branch, Layer, decided_choices, read_branches
from search_spaces.fasterseg.derivation.derivation import Parameters, branch_score, choose_branches, derive_all, derive_branches
from search_spaces.fasterseg.derivation.paths import most_probable_path, official_path
from tests.fasterseg_reference import FOLDER, NETWORKS, needs_reference
from tests.search_spaces.fasterseg.derivation.random_lattices import (
    WIDTHS,
    all_paths,
    derive,
    probability,
    random_logits,
    random_parameters,
)

NAMES = ("skip", "conv", "conv_downup", "conv_2x", "conv_2x_downup")


def released(name: str) -> dict:
    return json.loads((FOLDER / f"arch_{name}.json").read_text())


def parameters_of(stated: dict) -> Parameters:
    alphas, ratios = (tuple(torch.tensor(one) for one in stated[key]) for key in ("alphas", "ratios"))
    return Parameters(alphas, tuple(torch.tensor(one) for one in stated["betas"][1:]), ratios)


def softmax(row: np.ndarray) -> np.ndarray:
    """In float32, as the official code has it."""
    return torch.from_numpy(row).softmax(-1).numpy()


def compacted(path: list[int], alphas: list[np.ndarray], ratios: list[np.ndarray], *, keep_layers: bool) -> Branch:
    """Widths and operators of a path without the layers that skip, written once more; rules skips out in `alphas`."""
    count = len(path)
    row = {layer: alphas[path[layer]][layer - path[layer]] for layer in range(count)}
    for layer in range(count):
        row[layer][0] = -math.inf if keep_layers else row[layer][0]
    goes_down = [layer + 1 < count and path[layer + 1] == path[layer] + 1 for layer in range(count)]
    skipping = [layer for layer in range(count) if row[layer].argmax() == 0 and not goes_down[layer]]
    probability = {layer: softmax(row[layer])[0] for layer in range(count)}
    for scale in range(1, path[-1] + 1):
        inside = [layer for layer in range(count) if path[layer] == scale and not goes_down[layer]]
        if inside and all(layer in skipping for layer in inside):
            weakest = min(inside, key=lambda layer: (probability[layer], -layer))
            row[weakest][0] = -math.inf
    allowed = max(0, count - (round(count / 3) + 2 * path[-1]))
    dropped = sorted(skipping, key=lambda layer: (-probability[layer], layer))[:allowed]
    layers = []
    for layer in range(count):
        if row[layer].argmax() == 0 and layer in dropped:
            continue
        if row[layer].argmax() == 0:
            row[layer][0] = -math.inf
        width = 8
        if layer + 1 < count:
            scale = path[layer + 1]
            width = WIDTHS[ratios[scale][layer if scale == 0 else layer + 1 - scale].argmax()]
        layers.append(Layer(NAMES[row[layer].argmax()], 8 * 2 ** path[layer], width))
    layers[-1] = Layer(layers[-1].op, layers[-1].stride, 8)
    return Branch(8 * 2 ** path[-1], tuple(layers))


def as_arrays(parameters: Parameters) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    alphas, betas, ratios = (
        [one.numpy().copy() for one in group] for group in (parameters.alphas, parameters.betas, parameters.ratios)
    )
    return alphas, betas, ratios


def official_downs(betas: list[np.ndarray], last: int, layers: int) -> list[int]:
    """The layers in which the official code goes down: by the probabilities of going down alone."""
    first, second = betas[0][:, 0], betas[1][:, 0]
    if last == 0:
        return []
    if last == 1:
        return [1 + int(first[1 : layers - 3].argmax())]
    best, pair = np.float32(0), (0, 1)
    for n in range(layers - 4):
        for m in range(1, n - 1):
            if first[m] * second[n] > best:
                best, pair = first[m] * second[n], (m, n)
    return [pair[0] + 1, pair[1] + 2]


def officially(parameters: Parameters, *, keep_layers: bool = False, alone: bool = False) -> dict[int, Branch]:
    """One branch after the other on the same arrays, as officially, or each on its own, its betas soft-maxed once."""
    alphas, betas, ratios = as_arrays(parameters)
    branches = {}
    for last in range(3):
        if alone:
            alphas, betas, ratios = as_arrays(parameters)
        betas = [softmax(beta) for beta in betas]
        downs = official_downs(betas, last, len(alphas[0]))
        path = [sum(layer > down for down in downs) for layer in range(len(alphas[0]))]
        branches[8 * 2**last] = compacted(path, alphas, ratios, keep_layers=keep_layers)
    return branches


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_released_parameters_give_the_official_branches(name):
    stated = released(name)
    derived, parameters = stated["derived"], parameters_of(stated)
    options = derived["options"]
    head, widths, keep = round(12 * options["head_width"]), options["width_mult_list_x12"], options["ignore_skip"]
    found = derive_branches(parameters, FasterSegConfig(fidelity="official", widths=widths), head_width=head, keep_layers=keep)
    once = [beta.softmax(-1) for beta in parameters.betas]
    for official in derived["branches"] + derived["unused_branches"]:
        assert official_path(once, official["last"], layers=16) == official["before_compaction"]["path"]
        branch = found[8 * 2 ** official["last"]]
        assert branch.stride == 8 * 2 ** official["last"]
        assert [layer.op for layer in branch.layers] == official["ops"]
        assert [layer.stride for layer in branch.layers] == [STRIDES[scale] for scale in official["path"]]
        assert [layer.width for layer in branch.layers] == [*official["widths_x12"], head]


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_released_parameters_give_the_published_genotypes(name):
    stated = released(name)
    options, parameters = stated["derived"]["options"], parameters_of(stated)
    if name == "teacher":
        parameters = Parameters(parameters.alphas, parameters.betas, None)
    stem, head = (round(12 * options[f"{part}_width"]) for part in ("stem", "head"))
    config = FasterSegConfig(fidelity="official")
    found = derive_all(parameters, config=config, stem_width=stem, head_width=head, keep_layers=options["ignore_skip"])
    genotype = nas.load_genotype(f"fasterseg/{name}")
    assert found["32+16"] == genotype.choices
    assert found["32+8"]["branches"] == "32+8"
    assert genotype.space_config["fidelity"] == "official"


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_most_probable_paths_of_the_released_parameters_go_down_at_the_end(name):
    parameters = parameters_of(released(name))
    for last in (1, 2):
        best = max(all_paths(16, last), key=lambda path: probability(path, parameters))
        assert most_probable_path(parameters.betas, last, layers=16) == best
        assert best.count(0) == 16 - last


@needs_reference
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_released_scores_choose_the_official_branches(name):
    stored, derived = released(name)["stored"], released(name)["derived"]
    with_8, with_16 = branch_score(stored["mIoU02"], stored["latency02"]), branch_score(stored["mIoU12"], stored["latency12"])
    assert derived["objective"] == pytest.approx({"[2, 0]": with_8, "[2, 1]": with_16}, rel=1e-6)
    assert choose_branches(with_8, with_16) == "32+16"
    assert choose_branches(0.5, 0.4) == "32+8"
    assert choose_branches(0.4, 0.4) == "32+16"


def test_a_score_is_the_miou_at_the_target_and_where_latency_is_not_known():
    assert branch_score(0.5, None) == branch_score(0.5, 8.3) == branch_score(0.5, 40.0, target_ms=40.0) == 0.5
    assert branch_score(0.5, 20.0, target_ms=40.0) == pytest.approx(0.5 * 2**0.07)
    assert branch_score(0.5, 80.0, target_ms=40.0) == pytest.approx(0.5 * 2**-0.07)


@pytest.mark.parametrize("layers", [8, 11, 16])
@pytest.mark.parametrize("keep_layers", [False, True])
def test_a_second_implementation_derives_the_same_officially(layers, keep_layers):
    for seed in range(20):
        parameters = random_parameters(seed, layers, skip=seed % 3)
        assert derive(parameters, fidelity="official", keep_layers=keep_layers) == officially(parameters, keep_layers=keep_layers)


@pytest.mark.parametrize("layers", [3, 4, 5, 6, 7, 8, 16])
@pytest.mark.parametrize("keep_layers", [False, True])
def test_a_second_implementation_derives_the_same_along_the_most_probable_paths(layers, keep_layers):
    for seed in range(6):
        parameters = random_parameters(seed, layers, skip=seed % 3)
        found = derive(parameters, keep_layers=keep_layers)
        for last in range(3):
            path = max(all_paths(layers, last), key=lambda path: probability(path, parameters))
            alphas, _, ratios = as_arrays(parameters)
            assert found[8 * 2**last] == compacted(path, alphas, ratios, keep_layers=keep_layers)


def test_officially_a_branch_depends_on_those_derived_before_it():
    differing = {end: 0 for end in STRIDES}
    for seed in range(100):
        parameters = random_parameters(seed, skip=1.0)
        together, alone = derive(parameters, fidelity="official"), officially(parameters, alone=True)
        for end in STRIDES:
            differing[end] += together[end] != alone[end]
    assert differing[8] == 0
    assert differing[16] > 0
    assert differing[32] > 0


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("layers", [8, 11, 16])
def test_what_is_derived_is_a_network_and_keeps_the_parameters(layers, fidelity):
    config = FasterSegConfig(layers=layers, fidelity=fidelity)
    for seed in range(20):
        logits = random_logits(seed, layers, skip=1.5)
        before = {group: one.clone() for group, one in logits.items()}
        parameters = Parameters.of({group: one.requires_grad_() for group, one in logits.items()})
        branches = derive(parameters, fidelity=fidelity)
        assert all(torch.equal(one, before[group]) for group, one in logits.items())
        for ends in ((32, 16), (32, 8)):
            pair = tuple(branches[end] for end in ends)
            assert read_branches(decided_choices(pair, config, stem_width=4, head_width=8), config) == pair
        for scale, end in enumerate(STRIDES):
            assert min(layers, round(layers / 3) + 2 * scale) <= len(branches[end].layers) <= layers


def test_the_groups_of_the_lattice_are_alphas_betas_and_ratios():
    logits = random_logits(0, 16)
    parameters = Parameters.of(logits)
    assert [tuple(one.shape) for one in parameters.alphas] == [(16, 5), (15, 5), (14, 5)]
    assert [tuple(one.shape) for one in parameters.betas] == [(14, 2), (13, 2)]
    assert [tuple(one.shape) for one in parameters.ratios] == [(15, 5), (15, 5), (14, 5)]
    assert parameters.alphas[1] is logits["op_16"]
    assert Parameters.of(random_logits(0, 3)).betas[1].shape == (0, 2)


def test_without_logits_of_widths_all_are_the_largest():
    logits = {group: one for group, one in random_logits(0, 9).items() if not group.startswith("width")}
    parameters = Parameters.of(logits)
    assert parameters.ratios is None
    for fidelity in FIDELITIES:
        for branch in derive(parameters, fidelity=fidelity, keep_layers=True).values():
            assert [layer.width for layer in branch.layers] == [12] * 8 + [8]


def test_parameters_of_different_lattices_are_refused():
    logits = random_logits(0, 9) | {"input_32": torch.zeros(5, 2)}
    with pytest.raises(ValueError, match=r"got betas of \(7, 5\) rows, expected \(7, 6\), for there are 9 layers"):
        Parameters.of(logits)


@pytest.mark.parametrize("layers", [3, 4, 5, 6, 7])
def test_a_small_lattice_derives_along_the_most_probable_path_only(layers):
    parameters = random_parameters(0, layers, skip=9.0)
    found = derive(parameters)
    assert [found[end].layers[-1].stride for end in STRIDES] == [8, 16, 32]
    assert len(found[8].layers) == round(layers / 3)
    for scale, end in enumerate(STRIDES):
        assert len(found[end].layers) >= min(layers, round(layers / 3) + 2 * scale)
    with pytest.raises(ConfigError, match=rf"^space\.layers: got {layers} with space\.fidelity=official, expected at least 8"):
        derive(parameters, fidelity="official")
