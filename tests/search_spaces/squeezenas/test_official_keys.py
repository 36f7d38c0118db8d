"""Released weights: golden arrays of lat_small, and names of all six networks against a second implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import nas
from nas.errors import CheckpointError
from nas.network.network import Network
from nas.space.design import load_design
from tests.random_weights import as_if_trained
from tests.squeezenas_reference import FOLDER, NETWORKS, Reference, needs_reference

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def lat_small() -> Network:
    network = nas.build(nas.load_genotype("squeezenas/lat_small"))
    network.load_state_dict(nas.import_weights("squeezenas/lat_small", load_file(FOLDER / "lat_small.safetensors")))
    return network.eval()


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "lat_small_golden.npz") as arrays:
        return dict(arrays)


def image_of(golden: dict[str, np.ndarray], *, repeat: int = 1) -> Tensor:
    pixels = golden["image_u8"].repeat(repeat, axis=0).repeat(repeat, axis=1)
    return torch.from_numpy((pixels / np.float32(255) - golden["mean"]) / golden["std"]).permute(2, 0, 1).contiguous()[None]


def outputs_of(network: Network, images: Tensor) -> dict[str, np.ndarray]:
    """Logits, and every result of a node that is a block's, the encoder's or the decoder's last."""
    taken: dict[str, np.ndarray] = {}
    wanted = {f"block.{i}.{end}" for i in range(20) for end in ("op", "sum")} | {"last.conv", "decoder.sum"}
    hooks = [
        network.get_submodule(node.module).register_forward_hook(
            lambda _module, _inputs, output, name=node.name: taken.__setitem__(name, output[0].numpy())
        )
        for node in network.graph.nodes
        if node.name in wanted
    ]
    with torch.no_grad():
        taken["logits"] = network(images)[0].numpy()
    for hook in hooks:
        hook.remove()
    return taken


def block_outputs(taken: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The output of each block; an identity has that of the block before."""
    outputs: list[np.ndarray] = []
    for i in range(20):
        outputs.append(taken.get(f"block.{i}.sum", taken.get(f"block.{i}.op", outputs[-1] if outputs else None)))
    return outputs


def statistics(maps: list[np.ndarray]) -> np.ndarray:
    return np.array([[one.mean(dtype=np.float64), one.std(dtype=np.float64), one.min(), one.max()] for one in maps])


def assert_near(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)


@needs_reference
def test_lat_small_meets_every_array_of_the_official_network_at_256x512(lat_small, golden):
    taken = outputs_of(lat_small, image_of(golden))
    blocks = block_outputs(taken)
    assert_near(blocks[7], golden["a_low_level"])
    assert_near(taken["last.conv"], golden["a_encoder_out"])
    assert_near(taken["decoder.sum"], golden["a_logits_os8"])
    assert_near(taken["logits"][:, 3::8, 5::8], golden["a_logits_full_s8"])
    assert_near(statistics(blocks), golden["a_block_stats"])
    assert_near(statistics(list(taken["logits"])), golden["a_logits_full_stats"])


@needs_reference
@pytest.mark.slow
def test_lat_small_meets_every_array_of_the_official_network_at_1024x2048(lat_small, golden):
    taken = outputs_of(lat_small, image_of(golden, repeat=4))
    scores, logits = taken["decoder.sum"], taken["logits"]
    assert_near(scores[:, 1::2, 1::2], golden["b_logits_os8_s2"])
    assert_near(logits[:, 7::16, 9::16], golden["b_logits_full_s16"])
    assert_near(statistics(block_outputs(taken)), golden["b_block_stats"])
    assert_near(statistics(list(scores)), golden["b_logits_os8_stats"])
    assert_near(statistics(list(logits)), golden["b_logits_full_stats"])
    assert (scores.argmax(axis=0) == golden["b_argmax_os8"]).mean() > 0.9999


def reference_of(name: str) -> Reference:
    torch.manual_seed(0)
    return as_if_trained(Reference(nas.load_genotype(f"squeezenas/{name}")))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_weights_under_official_names_compute_what_a_second_implementation_computes(name):
    reference = reference_of(name)
    network = nas.build(nas.load_genotype(f"squeezenas/{name}"))
    network.load_state_dict(nas.import_weights(f"squeezenas/{name}", reference.state_dict()))
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected, got = reference(images), network.eval()(images)
    assert float((got - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_a_skip_that_halves_the_map_is_imported_too(tmp_path):
    from nas.space.genotype import save_genotype
    from search_spaces import SEARCH_SPACES

    genotype = nas.load_genotype("squeezenas/mac_small")
    genotype.choices["block.0"] = "skip"
    save_genotype(tmp_path / "halving.yaml", genotype)
    genotype = load_design(tmp_path / "halving.yaml", SEARCH_SPACES).genotype
    torch.manual_seed(0)
    reference = as_if_trained(Reference(genotype))
    network = nas.build(genotype).eval()
    network.load_state_dict(nas.import_weights(str(tmp_path / "halving.yaml"), reference.state_dict()))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected, got = reference(images), network(images)
    assert float((got - expected).abs().max()) < 1e-4 * float(expected.abs().max())


@needs_reference
def test_official_names_are_those_of_the_released_file():
    released = load_file(FOLDER / "lat_small.safetensors")
    rebuilt = reference_of("lat_small").state_dict()
    assert {name: value.shape for name, value in released.items()} == {name: value.shape for name, value in rebuilt.items()}


def test_what_is_missing_left_over_or_of_another_shape_is_named():
    state = reference_of("lat_xlarge").state_dict()
    short = {name: value for name, value in state.items() if name != "logits3.bias"}
    with pytest.raises(CheckpointError, match=r"missing logits3\.bias"):
        nas.import_weights("squeezenas/lat_xlarge", short)
    with pytest.raises(CheckpointError, match=r"left over logits4\.bias"):
        nas.import_weights("squeezenas/lat_xlarge", {**state, "logits4.bias": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"lowlevel1x1\.bias has shape \[33\], expected \[32\]"):
        nas.import_weights("squeezenas/lat_xlarge", {**state, "lowlevel1x1.bias": torch.zeros(33)})
    with pytest.raises(CheckpointError, match=r"missing .* and \d+ more; left over"):
        nas.import_weights("squeezenas/lat_small", state)


def test_what_is_no_state_dict_or_one_within_another_says_what_to_give():
    state = reference_of("lat_small").state_dict()
    name = next(iter(state))
    for given, reason in (
        ([state], "got list, expected names and tensors; give a state dict"),
        (
            {"epoch": 3, "state_dict": state},
            "got int under 'epoch', expected names and tensors alone; give what is under 'state_dict'",
        ),
        ({**state, name: state[name].numpy()}, f"got ndarray under '{name}', expected names and tensors alone; leave it out"),
        ({**state, 3: state[name]}, "got Tensor under 3, expected names and tensors alone; leave it out"),
        ({f"module.{name}": value for name, value in state.items()}, "more; take 'module.' off their names"),
    ):
        with pytest.raises(CheckpointError) as caught:
            nas.import_weights("squeezenas/lat_small", given)
        assert str(caught.value).endswith(reason)


def test_a_space_without_released_weights_says_so(tmp_path):
    from tests.small_jobs import random_genotype

    random_genotype(tmp_path / "genotype.yaml")
    with pytest.raises(CheckpointError, match="no official checkpoint is known of this genotype; give weights of nas train"):
        nas.import_weights(str(tmp_path / "genotype.yaml"), {})
