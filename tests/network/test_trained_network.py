"""Trained networks: where genotype and weights are found, and how many classes the weights decide."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.errors import CheckpointError
from nas.network.build import build_network
from nas.network.image_classifier import build_image_classifier
from nas.network.trained_network import trained_network, trained_sources
from nas.runs.checkpoint import save_weights
from nas.space.design import design_of
from search_spaces import SEARCH_SPACES
from tests.random_weights import as_if_trained
from tests.small_jobs import random_genotype

IMAGES = torch.randn(1, 3, 33, 47, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def genotype(tmp_path):
    return random_genotype(tmp_path / "genotype.yaml")


@pytest.mark.parametrize("num_classes", [11, 19, 2])
def test_weights_decide_the_number_of_classes(genotype, tmp_path, num_classes):
    network = as_if_trained(build_network(design_of(genotype, SEARCH_SPACES), num_classes))
    save_weights(tmp_path / "w.safetensors", network.state_dict())
    loaded, found = trained_network(design_of(genotype, SEARCH_SPACES), tmp_path / "w.safetensors")
    assert found == num_classes
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), network(IMAGES))


def altered(state, change):
    first = next(iter(state))
    if change == "missing":
        del state[first]
    elif change == "left over":
        state["another.weight"] = torch.zeros(1)
    elif change == "narrower":
        state[first] = state[first][:, :2]
    elif change == "fewer channels":
        state[first] = state[first][:2]
    return state


MESSAGES = {
    "missing": "missing .*stem.conv0",
    "left over": "left over .*another.weight",
    "narrower": r"stem.conv0.conv.weight has shape \[4, 2, 3, 3\], expected \[4, 3, 3, 3\]",
    "fewer channels": r"stem.conv0.conv.weight has shape \[2, 3, 3, 3\], expected \[4, 3, 3, 3\]",
}


@pytest.mark.parametrize(("change", "message"), MESSAGES.items(), ids=MESSAGES)
def test_weights_of_another_network_are_refused_with_what_differs(genotype, tmp_path, change, message):
    state = dict(build_network(design_of(genotype, SEARCH_SPACES)).state_dict())
    save_weights(tmp_path / "w.safetensors", altered(state, change))
    with pytest.raises(CheckpointError, match=message):
        trained_network(design_of(genotype, SEARCH_SPACES), tmp_path / "w.safetensors")


def test_sources_of_a_run_and_as_given(tmp_path):
    (tmp_path / "weights.safetensors").touch()
    assert trained_sources(str(tmp_path), None, None) == (str(tmp_path), tmp_path / "weights.safetensors")
    assert trained_sources(None, "a/name", str(tmp_path / "w")) == ("a/name", tmp_path / "w")
    assert trained_sources(str(tmp_path), None, "other.pt") == (str(tmp_path), Path("other.pt"))


def test_a_checkpoint_of_a_run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("last", "best"):
        (tmp_path / "checkpoints" / f"{name}.pt").touch()
        assert trained_sources(str(tmp_path), None, None, name) == (str(tmp_path), tmp_path / "checkpoints" / f"{name}.pt")
    with pytest.raises(CheckpointError, match="it is not finished, but has a checkpoint: add checkpoint=last"):
        trained_sources(str(tmp_path), None, None)


def test_a_search_has_no_weights_to_evaluate(tmp_path):
    (tmp_path / "config.yaml").write_text("verb: search\n")
    with pytest.raises(CheckpointError, match="is a nas search, whose network has no weights of its own: nas train genotype="):
        trained_sources(str(tmp_path), None, None)


def test_weights_of_whole_images_are_refused(genotype, tmp_path):
    design = design_of(genotype, SEARCH_SPACES)
    save_weights(tmp_path / "w.safetensors", build_image_classifier(design, 5).state_dict())
    with pytest.raises(CheckpointError, match="is of train.task=classification"):
        trained_network(design, tmp_path / "w.safetensors")
