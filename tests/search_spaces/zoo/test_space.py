"""The zoo as a space: no decisions, widths that are fixed, refusals."""

from __future__ import annotations

import pytest
import torch

import nas
from nas.errors import ConfigError
from nas.network.build import build_network
from nas.space.deployment import Deployment
from search_spaces import HAND_MADE, SEARCH_SPACES, all_spaces, searched_spaces
from search_spaces.zoo.config import ZooConfig
from search_spaces.zoo.space import Zoo
from tests.search_spaces.zoo.zoo_networks import published, small

SPACE = Zoo(ZooConfig(network="fast_scnn"))


def test_nothing_is_decided():
    assert SPACE.choices() == ()
    assert SPACE.random_choices(torch.Generator()) == {}
    assert published("fast_scnn").genotype.choices == {}


def test_it_is_reached_by_genotypes_and_never_searched():
    assert "zoo" in all_spaces()
    assert "zoo" not in searched_spaces()
    assert "zoo" not in nas.list_spaces()
    assert not set(HAND_MADE) & set(SEARCH_SPACES)
    with pytest.raises(
        ConfigError, match=r"^space.name: got 'zoo', whose networks are hand-made, .*genotype=zoo/NAME to nas train"
    ):
        nas.build_space(ZooConfig(network="fast_scnn"))


def test_an_unknown_network_and_another_width_are_refused():
    with pytest.raises(
        ConfigError, match=r"^space.network: got 'nothing', expected the name of a network; see nas show list=genotypes"
    ):
        Zoo(ZooConfig(network="nothing"))
    with pytest.raises(ConfigError, match=r"^deploy.init_channels: got 40, expected 32"):
        SPACE.graph(Deployment((64, 96), 40, 3), {})


def test_a_size_that_a_design_forbids_is_refused_with_one_that_it_takes():
    with pytest.raises(ConfigError, match=r"^deploy.input: got 64x100, expected multiples of 64 for hyperseg_s, e.g. 64x128$"):
        Zoo(ZooConfig(network="hyperseg_s")).graph(Deployment((64, 100), 32, 3), {})


@pytest.mark.parametrize("name", ["fast_scnn", "bisenet_r18", "enet"])
def test_images_of_a_pixel_leave_out_no_operation(name):
    """Maps of unlike strides have one size there, and others in the images that the same network sees later."""
    tiny, large = (small(name, size=size) for size in ((1, 1), (512, 1024)))
    assert [(node.name, node.inputs) for node in tiny.graph.nodes] == [(node.name, node.inputs) for node in large.graph.nodes]
    with torch.no_grad():
        assert build_network(tiny).eval()(torch.randn(1, 3, 70, 91)).shape == (1, 3, 70, 91)


def test_sizes_that_a_network_does_not_take_are_refused_by_the_setting_that_decides_them():
    design = published("hyperseg_s")
    assert design.space.size_multiple == 64
    design.require_size((64, 192), "data.size")
    with pytest.raises(ConfigError, match=r"^train.crop: got 64x96, expected multiples of 64 for hyperseg_s, e.g. 64x128$"):
        design.require_size((64, 96), "train.crop")
