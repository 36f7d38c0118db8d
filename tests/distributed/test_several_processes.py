"""Two processes with half of each batch each do what one process does with the whole of it; gloo between CPUs, on the loopback."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nas.losses import ohem
from tests.distributed.two_processes import COUNT, IN_FLOAT32, run_in_two_processes, run_scenario, uneven_batch

SEARCHES = ("soft_search", "soft_search_in_float32", "sampled_search", "two_level_search", "search_of_many_passes")
TRAININGS = ("training", "accumulating_training")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pair")


@pytest.fixture(scope="module")
def pair(folder) -> dict[str, list[Any]]:
    """What each of two processes found: scenario -> [rank 0's, rank 1's]."""
    return run_in_two_processes(folder)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def pairs_of(one: Any, other: Any, where: str = "found") -> Iterator[tuple[str, Any, Any]]:
    """The leaves of two nested results of one shape."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            yield from pairs_of(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, values in enumerate(zip(one, other, strict=True)):
            yield from pairs_of(*values, f"{where}.{index}")
    else:
        yield where, one, other


def assert_close(one: Any, other: Any, tolerance: float) -> None:
    """Nested results that are equal up to rounding, relative to the largest number of each tensor, or to 1."""
    compared = 0
    for where, mine, theirs in pairs_of(one, other):
        if isinstance(mine, Tensor) and mine.is_floating_point():
            scale = max(1.0, float(mine.abs().max())) if mine.numel() else 1.0
            assert torch.allclose(mine, theirs, rtol=0, atol=tolerance * scale), where
        elif isinstance(mine, Tensor):
            assert torch.equal(mine, theirs), where
        elif isinstance(mine, float):
            assert theirs == pytest.approx(mine, rel=tolerance, abs=tolerance), where
        else:
            assert mine == theirs, where
        compared += 1
    assert compared


def assert_bitwise(one: Any, other: Any) -> None:
    for where, mine, theirs in pairs_of(one, other):
        assert torch.equal(mine, theirs) if isinstance(mine, Tensor) else mine == theirs, where


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_by_two_processes_equals_one_in_losses_gradients_weights_logits_and_latency(pair, folder, name):
    alone = run_scenario(name, folder)
    assert len(alone["rows"]) == 3
    assert len(alone["gradients"]) > 20
    for found in pair[name]:
        assert_close(alone, found, 1e-4 if name in IN_FLOAT32 else 1e-9)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_by_two_processes_equals_one_with_average_weights_and_accumulation(pair, folder, name):
    alone = run_scenario(name, folder)
    for found in pair[name]:
        assert_close(alone, found, 1e-9)


@pytest.mark.parametrize("name", [*SEARCHES, *TRAININGS, "evaluation", "search_without_synced_norms"])
def test_both_processes_end_with_the_same_bits(pair, name):
    first, second = (dict(found) for found in pair[name])
    assert_bitwise(first, second)


def test_an_evaluation_is_shared_and_its_confusion_matrices_are_added_up(pair, folder):
    alone = run_scenario("evaluation", folder)
    for found in pair["evaluation"]:
        assert_close(alone, found, 1e-6)


def test_parts_of_losses_add_up_to_the_loss_of_the_whole_batch(pair, folder):
    alone = run_scenario("losses", folder)
    assert float(alone["void"][0]) == 0
    assert float(alone["ohem_few"][0]) != pytest.approx(float(alone["cross_entropy"][0]), rel=1e-3)
    for name, (value, grad) in alone.items():
        for rank, found in enumerate(pair["losses"]):
            assert float(found[name][0]) == pytest.approx(float(value), rel=1e-12), name
            assert torch.allclose(found[name][1], grad.chunk(COUNT)[rank], rtol=1e-9, atol=1e-15), name


def test_a_mean_of_means_would_be_another_loss_on_these_batches():
    images, labels = uneven_batch(0)
    logits = torch.cat([images] * 4, dim=1)[:, :11]
    losses = functional.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    means = [part.sum() / (label != 255).sum() for part, label in zip(losses.chunk(2), labels.chunk(2), strict=True)]
    assert abs(float(sum(means)) / 2 / float(losses.sum() / (labels != 255).sum()) - 1) > 1e-3
    assert math.isfinite(float(ohem(logits, labels)))


def test_synced_batch_norm_of_unequal_parts_equals_pytorch_s_on_the_whole(pair, folder):
    alone = run_scenario("norms", folder)
    for rank, found in enumerate(pair["norms"]):
        mine = slice(0, 3) if rank == 0 else slice(3, 5)
        for name in ("output", "grad", "evaluated"):
            assert torch.allclose(found[name], alone[name][mine], rtol=0, atol=1e-11), name
        for name in ("weight", "bias", "state"):
            assert_close(alone[name], found[name], 1e-12)
    assert list(pair["norms"][0]["state"]) == list(alone["state"])


def test_without_synced_norms_running_statistics_are_averaged(pair):
    first, second = pair["averaged_statistics"]
    for rank, found in enumerate((first, second)):
        half = uneven_batch(0)[0].double().chunk(2)[rank]
        assert torch.allclose(found["own"]["running_mean"], 0.1 * half.mean(dim=(0, 2, 3)))
    assert_bitwise(first["averaged"], second["averaged"])
    for name in ("running_mean", "running_var"):
        assert torch.allclose(first["averaged"][name], (first["own"][name] + second["own"][name]) / 2, rtol=1e-12)
        assert not torch.equal(first["own"][name], second["own"][name])


def test_synced_norms_matter_on_these_batches(pair):
    synced, own = (pair[name][0]["state"] for name in ("soft_search", "search_without_synced_norms"))
    assert any(not torch.allclose(value, own[name], atol=1e-3) for name, value in synced.items() if value.is_floating_point())


def test_processes_agree_on_flags_and_texts_and_refuse_together(pair):
    first, second = pair["agreements"]
    assert first["any"] == second["any"] == [True, False]
    assert first["text"] == second["text"] == "Größe 0"
    assert (first["refused"], second["refused"]) == ("wrong", "the first process refused the input")


def test_states_that_differ_in_one_bit_stop_all_processes_naming_the_tensor(pair):
    for found in pair["agreements"]:
        assert found["differ"].startswith("got 2 processes that differ in state.b.0 (1 of 2 tensors), expected the same on all;")


def test_what_two_processes_cannot_share_is_refused_in_a_line(pair):
    for found in pair["refusals"]:
        assert found == {
            "batch": "search.batch_size: got 3, expected a multiple of 2, the number of processes",
            "devices": "trainer.devices: got 3 where torchrun started 2 processes; leave trainer.devices out",
            "alone": "trainer.devices: got 2, expected 1, for nas eval runs on one device",
        }
