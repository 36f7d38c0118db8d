"""Networks timed side by side."""

import dataclasses

import pytest
import torch

import nas
from nas.errors import ConfigError


@pytest.mark.parametrize("runtime", ["torch-eager", "onnxruntime"])
def test_larger_networks_take_longer_and_the_random_state_stays(runtime):
    small = nas.load_genotype("squeezenas/lat_small")
    sizes = {"large": (224, 320), "small": (32, 64), "middle": (96, 160)}
    networks = {
        name: dataclasses.replace(small, deploy=dataclasses.replace(small.deploy, input=size)) for name, size in sizes.items()
    }
    before = torch.random.get_rng_state()
    measured = nas.measure(networks, runtime=runtime, rounds=3)
    assert list(measured) == list(networks)
    assert 0 < measured["small"] < measured["middle"] < measured["large"]
    assert torch.equal(before, torch.random.get_rng_state())


def test_runtime_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="tensorflow"):
        nas.measure({}, runtime="tensorflow")
