"""One image at once: a batch norm of one value of each channel is named before a step is taken, and no other network refused."""

from __future__ import annotations

import pytest
import torch

from nas.errors import ConfigError
from nas.network.batch_of_one import check_batch_of_one
from nas.network.build import build_network
from tests.search_spaces.zoo.zoo_networks import small


def test_a_norm_behind_the_average_of_a_map_is_named():
    design = small("pp_liteseg_t", size=(64, 96))
    with pytest.raises(ConfigError, match=r"^train.batch_size: got 1, and the batch norm \S+ reads one pixel"):
        check_batch_of_one(design.graph, (64, 96))
    with pytest.raises(ValueError, match="more than 1 value per channel"):  # what it spares
        build_network(design)(torch.randn(1, 3, 64, 96))


def test_it_is_the_crop_that_decides():
    graph = small("erfnet", size=(64, 96)).graph
    check_batch_of_one(graph, (64, 96))
    with pytest.raises(ConfigError, match="reads one pixel"):
        check_batch_of_one(graph, (5, 8))
