"""Every head with every kind of communication, at both levels and with every relaxation: two steps, then a network that trains."""

from __future__ import annotations

import itertools

import pytest

import nas
from search_spaces.lgcnet.config import CASConfig, GASConfig
from tests.small_jobs import SPACE, STEPS_PER_EPOCH, rows, search_job, train_job

HEADS = ("none", "aspp", "ppm", "mscell", "dcfc")
BETWEEN = {
    "independent": {"communication": "none"},
    "shared": {"cells": "shared", "communication": "none"},
    "fc": {"communication": "fc"},
    "gcn": {"communication": "gcn"},
    "identity": {"reasoning": "operation_identity"},
}
HOW = list(itertools.product(("single", "bilevel"), ("soft", "hard", "sampled")))
COMBINATIONS = [(head, between, *HOW[i % len(HOW)]) for i, (head, between) in enumerate(itertools.product(HEADS, BETWEEN))]


@pytest.mark.parametrize(
    ("head", "between", "level", "relaxation"),
    [
        pytest.param(*one, marks=() if number % 4 == 0 or one[0] == "dcfc" else pytest.mark.slow)
        for number, one in enumerate(COMBINATIONS)
    ],
)
def test_two_steps_of_any_combination_give_a_network(tmp_path, head, between, level, relaxation):
    job = search_job(
        tmp_path,
        space={"head": head, **BETWEEN[between]},
        search__level=level,
        search__relaxation=relaxation,
        search__max_steps=2,
    )
    result = nas.search(job)
    assert {row["step"] for row in rows(tmp_path, "step")} == {1, 2}
    genotype = nas.load_genotype(tmp_path)
    assert genotype == result.genotype
    assert genotype.space_config["head"] == head
    assert sum(p.numel() for p in nas.build(genotype).parameters()) > 0


def test_combinations_meet_every_pair_of_level_and_relaxation():
    assert {(level, relaxation) for _, _, level, relaxation in COMBINATIONS} == set(HOW)


@pytest.mark.parametrize("config", [GASConfig, CASConfig])
def test_gas_and_cas_are_searched_and_trained_by_their_names(tmp_path, config):
    job = search_job(tmp_path / "search", search__max_steps=2)
    job.space = config(**SPACE)
    genotype = nas.search(job).genotype
    assert genotype.space == config().name
    trained = nas.train(train_job(tmp_path / "search", tmp_path / "train", train__max_steps=2))
    assert trained.parameters > 0


def test_a_warm_up_with_another_relaxation_is_that_search_until_the_architecture_moves(tmp_path):
    common = {"search__warmup_epochs": 1, "search__execution": "reference", "search__eval_every": 0}
    nas.search(search_job(tmp_path / "sampled", search__relaxation="sampled", **common))
    nas.search(search_job(tmp_path / "soft", search__relaxation="soft", **common))
    nas.search(search_job(tmp_path / "mixed", search__relaxation="soft", search__warmup_relaxation="sampled", **common))
    sampled, soft, mixed = (rows(tmp_path / name, "step") for name in ("sampled", "soft", "mixed"))
    assert mixed[:STEPS_PER_EPOCH] == sampled[:STEPS_PER_EPOCH] != soft[:STEPS_PER_EPOCH]
    assert mixed[STEPS_PER_EPOCH] != sampled[STEPS_PER_EPOCH]


def test_statistics_estimated_anew_change_evaluations_and_nothing_else(tmp_path):
    nas.search(search_job(tmp_path / "running", search__recalibrate=0))
    nas.search(search_job(tmp_path / "anew", search__recalibrate=3))
    for split in ("step", "train"):
        assert rows(tmp_path / "running", split) == rows(tmp_path / "anew", split)
    running, anew = (rows(tmp_path / name, "val_argmax") for name in ("running", "anew"))
    assert [row["latency"] for row in running] == [row["latency"] for row in anew]
    assert [row["miou"] for row in running] != [row["miou"] for row in anew]
