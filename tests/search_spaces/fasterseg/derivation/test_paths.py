"""The paths of branches: the most probable one, the official one, and how the likeliest downs relate to both."""

from __future__ import annotations

import pytest
import torch

from search_spaces.fasterseg.derivation.derivation import Parameters
from search_spaces.fasterseg.derivation.paths import likeliest_downs, most_probable_path, official_path
from tests.search_spaces.fasterseg.derivation.random_lattices import all_paths, probability, random_parameters


def test_repeated_normalisation_can_move_the_official_path_of_two_downs():
    moved = 0
    for seed in range(40):
        once = [beta.softmax(-1) for beta in random_parameters(seed).betas]
        thrice = [share.softmax(-1).softmax(-1) for share in once]
        assert official_path(once, 1, layers=16) == official_path(thrice, 1, layers=16)
        moved += official_path(once, 2, layers=16) != official_path(thrice, 2, layers=16)
    assert moved > 0


@pytest.mark.parametrize("layers", [3, 4, 5, 8, 16])
@pytest.mark.parametrize("last", [0, 1, 2])
def test_the_corrected_path_is_the_best_of_all_and_all_together_are_certain(layers, last):
    for seed in range(10):
        parameters = random_parameters(seed, layers)
        paths = {tuple(path): probability(path, parameters) for path in all_paths(layers, last)}
        assert sum(paths.values()) == pytest.approx(1)
        found = most_probable_path(parameters.betas, last, layers=layers)
        assert paths[tuple(found)] == pytest.approx(max(paths.values()), rel=1e-12)


@pytest.mark.parametrize("layers", [4, 5, 7])
@pytest.mark.parametrize("last", [1, 2])
def test_of_equally_probable_paths_the_later_down_is_taken(layers, last):
    parameters = random_parameters(0, layers)
    for beta in parameters.betas:
        beta.zero_()
    paths = {tuple(path): probability(path, parameters) for path in all_paths(layers, last)}
    best = [path for path, share in paths.items() if share == max(paths.values())]
    assert most_probable_path(parameters.betas, last, layers=layers) == list(min(best, key=lambda path: path[::-1]))


def test_the_corrected_path_goes_down_where_beta_says_and_the_official_one_a_layer_before():
    parameters = random_parameters(0)
    parameters.betas[0][:] = torch.tensor([-9.0, 9.0])
    parameters.betas[0][5] = torch.tensor([9.0, -9.0])  # row 5 is the cell of layer 7 at 1/16
    assert most_probable_path(parameters.betas, 1, layers=16) == [0] * 7 + [1] * 9
    once = [beta.softmax(-1) for beta in parameters.betas]
    assert official_path(once, 1, layers=16) == [0] * 6 + [1] * 10


def goes_down(path: list[int]) -> list[int]:
    return [layer for layer in range(len(path) - 1) if path[layer + 1] > path[layer]]


def down_factor(path: list[int], parameters: Parameters) -> float:
    """Product of the probabilities of going down, of the cells with two inputs that a path goes down into."""
    factor = 1.0
    for layer in goes_down(path):
        scale = path[layer + 1]
        if layer + 1 > scale:
            factor *= float(parameters.betas[scale - 1][layer - scale].double().softmax(-1)[0])
    return factor


@pytest.mark.parametrize("layers", [3, 4, 5, 7, 8, 11, 16])
@pytest.mark.parametrize("last", [0, 1, 2])
def test_the_likeliest_downs_are_the_best_of_all_paths_that_go_down_behind_the_diagonal(layers, last):
    for seed in range(5):
        parameters = random_parameters(seed, layers)
        paths = [path for path in all_paths(layers, last) if all(down >= n for n, down in enumerate(goes_down(path), start=1))]
        if layers >= 8:  # rows that the official code leaves out
            inner = {1: lambda d: 2 <= d[0] <= layers - 3, 2: lambda d: 2 <= d[0] <= d[1] - 3 and d[1] <= layers - 3}
            paths = [path for path in paths if last == 0 or inner[last](goes_down(path))]
        found = likeliest_downs(parameters.betas, last, layers=layers)
        assert len(found) == layers
        assert found[-1] == last
        if (layers, last) == (3, 2):
            assert found == [0, 1, 2]  # the only path
        else:
            assert down_factor(found, parameters) == pytest.approx(max(down_factor(path, parameters) for path in paths), rel=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_the_likeliest_downs_are_the_official_ones_but_for_the_layer_that_is_missed_with_one_down(seed):
    parameters = random_parameters(seed)
    once = [beta.softmax(-1) for beta in parameters.betas]
    one, two = (goes_down(likeliest_downs(parameters.betas, last, layers=16)) for last in (1, 2))
    assert two == goes_down(official_path(once, 2, layers=16))
    assert one == [down + 1 for down in goes_down(official_path(once, 1, layers=16))]


def test_the_corrected_path_heeds_how_probable_staying_is():
    parameters = random_parameters(0)
    for beta in parameters.betas:
        beta[:] = torch.tensor([-4.0, 4.0])
    parameters.betas[0][3] = torch.tensor([5.0, -5.0])  # the most probable down, into layer 5
    parameters.betas[0][9] = torch.tensor([3.0, -3.0])  # a later one, behind which alone everything stays
    assert most_probable_path(parameters.betas, 1, layers=16) == [0] * 11 + [1] * 5
    assert official_path([beta.softmax(-1) for beta in parameters.betas], 1, layers=16) == [0] * 4 + [1] * 12
