"""The SqueezeNAS spaces: blocks, settings, and what must hold of the super-network."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from nas.cost.expected import ExpectedLatency
from nas.cost.lookup import MacsTable
from nas.cost.prediction import predict_graph
from nas.errors import ConfigError
from nas.network.network import Network
from nas.network.supernet_weights import copy_weights
from nas.ops import macs
from nas.space.deployment import Deployment
from nas.space.design import design_of
from nas.space.genotype import Genotype
from nas.space.weights import Weights
from nas.space.weights import one_hot as one_hot_weights
from nas.supernet.supernet import Draw, Supernet
from search_spaces import SEARCH_SPACES
from search_spaces.squeezenas.config import OPS, SqueezeNASLargeConfig, SqueezeNASSmallConfig, SqueezeNASXLargeConfig
from search_spaces.squeezenas.space import SqueezeNAS
from tests.random_weights import as_if_trained

SIZE = (32, 48)
TINY = {"stages": [[8, 2, 2], [12, 2, 2], [16, 2, 1]], "low_level_block": 1, "last_channels": 24, "decoder_channels": 8}


def tiny_space(**changes) -> SqueezeNAS:
    return SqueezeNAS(SqueezeNASSmallConfig(**{**TINY, "stem_channels": 8, **changes}))


def tiny_graph(space: SqueezeNAS, decided=None, size=SIZE):
    return space.graph(Deployment(size, 8, 5), decided)


def tiny_supernet(**changes) -> Supernet:
    torch.manual_seed(0)
    space = tiny_space(**changes)
    graph = tiny_graph(space)
    return Supernet(space, Network(graph), [ExpectedLatency(graph, MacsTable().cost)], generator=torch.Generator().manual_seed(0))


def draw(*, seed=0, tau=1.0, per_image=True, relaxation="soft") -> Draw:
    return Draw(relaxation, tau, torch.Generator().manual_seed(seed), per_image=per_image)


@pytest.mark.parametrize("decoder", ["lr_aspp", "aspp"])
@pytest.mark.parametrize("seed", range(3))
def test_with_one_hot_weights_the_supernet_is_the_derived_network(decoder, seed):
    supernet = as_if_trained(tiny_supernet(decoder=decoder))
    space = supernet.space
    decided = dict(space.random_choices(torch.Generator().manual_seed(seed)))
    graph = tiny_graph(space, decided)
    derived = Network(graph).eval()
    copy_weights(supernet.network, derived, decided)
    one_hot = one_hot_weights(decided, space.choices())
    everything = Weights({name: z.expand(2, -1) for name, z in one_hot.values.items()}, {})
    for size in (SIZE, (37, 51)):
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            expected = derived(images)
            for weights in (one_hot, everything):
                assert float((supernet.network(images, weights) - expected).abs().max()) < 1e-5 * float(expected.abs().max())
    cost = predict_graph(graph, MacsTable().cost).ms
    assert float(supernet.latencies[0](one_hot)) == pytest.approx(cost, rel=1e-12)
    assert supernet.latencies[0](everything).tolist() == pytest.approx([cost, cost], rel=1e-12)


def test_each_loss_term_alone_moves_the_logits():
    for term in (0, 1):
        supernet = tiny_supernet()
        (logits,), cost = supernet(torch.randn(2, 3, *SIZE), draw())
        (logits.square().mean() if term == 0 else cost).backward()
        gradient = supernet.architectures["default"].alpha["blocks"].grad
        assert gradient.shape == (6, 13)
        assert (gradient.abs().sum(dim=1) > 0).all()


def test_images_of_a_batch_have_weights_of_their_own_and_cost_their_mean():
    supernet = tiny_supernet().eval()
    images = torch.randn(1, 3, *SIZE).expand(3, -1, -1, -1)
    with torch.no_grad():
        (logits,), cost = supernet(images, draw())
        weights = supernet.sample(draw(), batch=3)
    for z in weights.values.values():
        assert z.shape == (3, 13)
        assert len(z.unique(dim=0)) == 3
    assert not torch.allclose(logits[0], logits[1], atol=1e-4)
    by_hand = [sum(float(z[i] @ block_macs(supernet, name)) for name, z in weights.values.items()) for i in range(3)]
    fixed = sum(macs(node.spec) for node in supernet.network.graph.nodes if node.role == "op") / 1e6
    assert float(cost) == pytest.approx(fixed + sum(by_hand) / 3, rel=1e-6)
    for i in range(3):
        alone = Weights({name: z[i] for name, z in weights.values.items()}, {})
        torch.testing.assert_close(supernet.network(images[:1], alone), logits[i : i + 1], atol=1e-4, rtol=1e-4)


def block_macs(supernet: Supernet, decision: str) -> torch.Tensor:
    """Millions of MACs of each choice; a skip that adds nothing costs nothing."""
    (node,) = [node for node in supernet.network.graph.nodes if node.decisions == (decision,)]
    return torch.tensor([macs(node.specs[(i,)]) / 1e6 for i in range(13)])


def test_at_a_low_temperature_weights_are_one_hot_and_at_the_start_uniform_on_average():
    supernet = tiny_supernet()
    cold = supernet.sample(draw(tau=1e-7), batch=64)
    assert min(float(z.max(dim=-1).values.detach().min()) for z in cold.values.values()) > 0.999
    assert torch.equal(supernet.architectures["default"].alpha["blocks"], torch.ones(6, 13))
    warm = supernet.sample(draw(relaxation="hard"), batch=20_000).values["block.0"]
    assert warm.detach().mean(dim=0).tolist() == pytest.approx([1 / 13] * 13, abs=0.01)


def test_noise_is_drawn_in_evaluation_too_and_repeats_with_its_generator():
    supernet = tiny_supernet().eval()
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        first, again, other = (supernet(images, draw(seed=seed))[0][0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_residual_skip_is_the_identity_and_other_skips_have_weights():
    space = tiny_space()
    decided = {f"block.{i}": "skip" for i in range(6)}
    kinds = {node.name: node.spec.kind for node in tiny_graph(space, decided).nodes if node.name.startswith("block")}
    assert kinds == {
        "block.0.op": "factorized_reduce",
        "block.2.op": "factorized_reduce",
        "block.4.op": "relu_conv_bn",
    }


def test_the_input_is_added_where_shapes_agree_and_only_there():
    decided = dict.fromkeys((f"block.{i}" for i in range(6)), "k3_e3_g1")
    sums = [node.name for node in tiny_graph(tiny_space(), decided).nodes if node.name.endswith(".sum") and "block" in node.name]
    assert sums == ["block.1.sum", "block.3.sum", "block.5.sum"]


def test_width_scales_the_stages_but_neither_stem_nor_decoder():
    graph = tiny_graph(tiny_space(width=1.5))
    channels = {node.name: spec.out_channels for node in graph.nodes for spec in node.specs.values()}
    assert [channels[f"block.{i}.op"] for i in range(6)] == [12, 12, 18, 18, 24, 24]
    assert (channels["stem.conv"], channels["decoder.branch"], channels["last.conv"]) == (8, 8, 24)


def test_channels_of_stem_and_noise_are_the_spaces_own():
    for config, stem in ((SqueezeNASSmallConfig(), 16), (SqueezeNASLargeConfig(), 16), (SqueezeNASXLargeConfig(), 48)):
        space = SEARCH_SPACES[config.name].build(config)
        assert (space.search_channels, space.deploy_channels, space.noise_per_image) == (stem, stem, True)
        assert space.choices()[0].options == OPS


def test_clamped_windows_can_be_refused():
    space = tiny_space(clamp_pool=False)
    with pytest.raises(ConfigError, match=r"space\.clamp_pool: got false with .* 2x3 pixels, expected at least 49"):
        tiny_graph(space, size=(16, 24))
    assert tiny_graph(space, size=(392, 400)).outputs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": "fpn"}, "space.decoder: got 'fpn', expected one of lr_aspp, aspp"),
        ({"ops": ["skip", "k7"]}, r"space.ops: got unknown \[k7\]"),
        ({"ops": []}, "space.ops: got"),
        ({"ops": ["skip", "skip"]}, "space.ops: got"),
        ({"stages": []}, "space.stages: got none"),
        ({"stages": [[8, 2]]}, r"space.stages: got \[8,2\]"),
        ({"stages": [[8, 2, 3]]}, r"space.stages: got \[8,2,3\]"),
        ({"stages": [[9, 8, 2]]}, r"space.stages, space.width: got stages of \[9\] channels, expected multiples of 2"),
        ({"low_level_block": 20}, "space.low_level_block: got 20, expected a number below the 20 blocks"),
        ({"width": 0.0}, "space.width: got 0.0"),
        ({"pool_strides": [16]}, r"space.pool_strides: got \[16\], expected 2 numbers"),
        ({"aspp_rates": []}, r"space.aspp_rates: got \[\], expected at least one"),
        ({"decoder": "aspp", "decoder_channels": 100}, "space.decoder_channels: got 100 under 256 channels"),
        ({"decoder_channels": 0}, "space.decoder_channels: got 0, expected at least 1"),
    ],
)
def test_settings_that_make_no_network_are_refused_by_name(changes, message):
    with pytest.raises(ConfigError, match=message):
        SqueezeNASSmallConfig(**changes)


def test_large_under_aspp_cannot_be_built_and_small_can():
    with pytest.raises(ConfigError, match="got 128 under 160 channels"):
        SqueezeNASLargeConfig(decoder="aspp")
    assert SqueezeNASSmallConfig(decoder="aspp").encoder_channels() % 128 == 0


def test_an_odd_stem_is_refused_where_groups_need_it_even():
    with pytest.raises(ConfigError, match="init_channels: got 7, expected a multiple of 2"):
        tiny_space().graph(Deployment(SIZE, 7, 5))
    assert tiny_space(ops=["k3_e1_g1", "skip"]).graph(Deployment(SIZE, 7, 5)).nodes


def test_a_genotype_may_be_deployed_with_other_classes_and_any_size():
    config = SqueezeNASSmallConfig(**TINY)
    choices = SqueezeNAS(config).random_choices(torch.Generator().manual_seed(0))
    genotype = Genotype("squeezenas_small", dataclasses.asdict(config), Deployment((45, 70), 8, 11), choices)
    network = Network(design_of(genotype, SEARCH_SPACES).with_classes(3).graph).eval()
    for size in ((45, 70), (1, 1), (17, 90)):
        assert network(torch.randn(1, 3, *size)).shape == (1, 3, *size)
