"""For how many classes weights are, wherever a network has its classes: in any axis, in sums, in widths that follow from them."""

from __future__ import annotations

import pytest
import torch

from nas.network.build import build_network
from nas.network.class_count import classes_of
from tests.search_spaces.zoo.zoo_networks import small

NETWORKS = ("bisenet_r18", "enet", "espnet", "hyperseg_s", "segnet", "sqnet")
"""Classifiers without bias, transposed, as channels of deeper maps, as kernels that the network makes, as norms."""


def tensors(design, num_classes):
    with torch.device("meta"):
        return build_network(design, num_classes).state_dict()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_number_follows_from_the_shapes_of_a_whole_network(name):
    design = small(name, size=(64, 64), classes=19)
    wanted = tensors(design, 19)
    assert classes_of(design, wanted, tensors(design, 7)) == 7
    assert classes_of(design, wanted, tensors(design, 150)) == 150
    assert classes_of(design, wanted, wanted) is None


def test_weights_that_differ_otherwise_are_of_no_number_of_classes():
    design = small("enet", size=(64, 64), classes=19)
    wanted, given = tensors(design, 19), dict(tensors(design, 7))
    first = next(iter(given))
    assert classes_of(design, wanted, {**given, first: torch.empty(2, 2, device="meta")}) is None


@pytest.mark.parametrize("name", NETWORKS)
def test_modules_that_depend_on_the_classes_are_all_whose_tensors_do(name):
    design = small(name, size=(64, 64), classes=19)
    one, other = tensors(design, 19), tensors(design, 7)
    differ = {key for key in one if key not in other or one[key].shape != other[key].shape}
    paths = tuple(f"{path}." for path in design.class_modules)
    assert differ
    assert all(key.startswith(paths) for key in differ)
