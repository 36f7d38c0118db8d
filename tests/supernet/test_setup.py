"""Parts of a search: the splits and their batches, the control of latency and what is refused before anything is built."""

from __future__ import annotations

import pytest

import nas
from nas.cost.repair import UnreachableError
from nas.data import build_dataset
from nas.distributed.ranks import ALONE, Ranks
from nas.errors import ConfigError
from nas.supernet.setup import build_supernet, draw_plan, latency_control, search_costs, search_data
from tests.small_jobs import SIZE, made_up_table, search_job


def data_of(job, ranks=ALONE):
    return search_data(job, train_set=build_dataset(job.data, "train"), val_set=build_dataset(job.data, "val"), ranks=ranks)


def test_one_level_takes_all_images_and_two_levels_hold_some_out():
    one = data_of(search_job(search__epochs=5, search__max_steps=7))
    assert (len(one.train_set), one.held_out, one.num_classes) == (6, None, 11)
    assert (one.steps_per_epoch, one.total_steps, one.plan.crop) == (3, 7, SIZE)
    two = data_of(search_job(search__level="bilevel", search__holdout=0.5, search__crop=[32, 32]))
    assert (len(two.train_set), two.steps_per_epoch, two.plan.crop) == (3, 1, (32, 32))
    assert two.held_out is not None
    images, labels = two.held_out.batch(0)
    assert (images.shape, labels.shape) == ((2, 3, 32, 32), (2, 32, 32))
    trained = {two.train_set.name(index) for index in range(3)}
    assert trained.isdisjoint(two.held_out.names(0))


def test_processes_load_their_part_of_a_batch():
    data = data_of(search_job(), Ranks(1, 2))
    (images, _), *_ = data.plan.batches(data.train_set, epoch=0)
    assert len(images) == 1
    with pytest.raises(ConfigError, match="search.batch_size: got 2, expected a multiple of 3"):
        data_of(search_job(), Ranks(0, 3))


def test_draws_know_when_the_warm_up_ends():
    job = search_job(search__warmup_epochs=1)
    draws = draw_plan(job, nas.build_space(job.space), data_of(job))
    assert (draws.warmup_steps, draws.total_steps) == (3, 6)


def test_latency_is_weighed_relative_to_that_of_uniform_parameters_and_targets_out_of_reach_are_refused(tmp_path):
    made_up_table(tmp_path / "table.json")

    def control(target):
        job = search_job(latency__table=str(tmp_path / "table.json"), latency__target_ms=target)
        space, data = nas.build_space(job.space), data_of(job)
        costs = search_costs(job, space, job.deploy.deployment(space, data.num_classes, size=SIZE))
        return latency_control(job, build_supernet(job, space, data, costs), costs)

    (uniform,) = control(None).uniform
    assert uniform > 0
    assert control(uniform).targets == [uniform]
    with pytest.raises(UnreachableError):
        control(1e-9 * uniform)
