"""One level and two: whose gradient comes from which batch, what stops both, and exact resume with two."""

from __future__ import annotations

import copy
import math

import pytest
import torch

import nas
from nas.errors import NonFiniteLossError
from nas.losses import cross_entropy
from nas.runs.checkpoint import load_checkpoint
from nas.supernet.search_task import SearchTask
from nas.supernet.supernet import Draw
from tests.small_jobs import (
    assert_same_run,
    assert_same_state,
    batch,
    overrides,
    rows,
    search_job,
    search_task,
)

RELAXATIONS = ["soft", "hard", "sampled"]


def two_levels(out=None, **changes):
    """Ten images, four of them held out: three steps an epoch, two held-out batches before they begin anew."""
    settings = {"search__level": "bilevel", "search__holdout": 0.4, "search__relaxation": "sampled"}
    return search_job(out, **{**settings, "data__train": 10, "data__val": 1, **changes})


def copies(parameters):
    return [parameter.detach().clone() for parameter in parameters]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def arch(task):
    return copies(task.supernet.arch_parameters())


def weights(task):
    return copies(task.supernet.weight_parameters())


def give(task, images, labels):
    """Let the held-out batches of a task be this one."""
    task.held_out.batch = lambda number: (images, labels)


def assert_grads(parameters, expected):
    for parameter, gradient in zip(parameters, expected, strict=True):
        if gradient is None:
            assert parameter.grad is None or not parameter.grad.any()
        else:
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_two_levels_take_the_gradients_that_plain_autograd_takes_of_either_batch(relaxation):
    job = two_levels(search__relaxation=relaxation, search__grad_clip=0.0, latency__weight=0.7)
    task, twin = search_task(job), search_task(job)
    held, train = batch(1), batch(2)
    give(task, *held)
    task.step(*train, 2)
    net = twin.supernet.train()
    draws = [Draw(relaxation, twin.draws.tau(2), twin.draws.noise(2 + offset)) for offset in (2**31, 0)]
    (logits,), latency = net(held[0], draws[0])
    parameters = list(net.arch_parameters())
    loss = cross_entropy(logits, held[1]) + 0.7 * latency / twin.control.uniform[0]
    assert_grads(task.supernet.arch_parameters(), torch.autograd.grad(loss, parameters, allow_unused=True))
    net.architectures.load_state_dict(task.supernet.architectures.state_dict())  # the weights' step comes second
    (logits,), _ = net(train[0], draws[1])
    parameters = list(net.weight_parameters())
    expected = torch.autograd.grad(cross_entropy(logits, train[1]), parameters, allow_unused=True)
    assert_grads(task.supernet.weight_parameters(), expected)
    assert all(parameter.requires_grad for parameter in task.supernet.parameters())


def test_training_batch_does_not_reach_the_architecture_nor_the_held_out_batch_the_weights():
    job = two_levels(search__relaxation="soft")
    after = {}
    for held, train in ((1, 2), (1, 3), (4, 2)):
        task = search_task(job)
        give(task, *batch(held))
        task.step(*batch(train), 0)
        after[held, train] = (arch(task), weights(task))
    assert same(after[1, 2][0], after[1, 3][0])
    assert not same(after[1, 2][1], after[1, 3][1])
    assert not same(after[1, 2][0], after[4, 2][0])
    resting = two_levels(search__arch_lr=0.0)  # with the architecture at rest, nothing of the held-out batch is left
    found = []
    for held in (1, 4):
        task = search_task(resting)
        give(task, *batch(held))
        task.step(*batch(2), 0)
        found.append(weights(task))
    assert same(*found)


def test_latency_is_in_the_loss_of_the_held_out_batch_only():
    task = search_task(two_levels(latency__weight=0.7))
    row, _ = task.step(*batch(), 1)
    assert row["loss"] == row["cross_entropy"]
    expected = row["holdout_cross_entropy"] + 0.7 * row["holdout_sampled_latency"] / task.control.uniform[0]
    assert row["holdout_loss"] == pytest.approx(expected, rel=1e-6)
    assert row["holdout_loss"] > row["holdout_cross_entropy"] > 0


def test_noise_of_the_held_out_batch_is_not_that_of_the_training_batch(monkeypatch):
    task = search_task(two_levels(search__relaxation="soft"))
    drawn = []
    sample = type(task.supernet).sample
    monkeypatch.setattr(
        type(task.supernet), "sample", lambda self, draw, **kw: (drawn.append(sample(self, draw, **kw)), drawn[-1])[1]
    )
    for step in range(3):
        task.step(*batch(), step)
    weights_of = [torch.cat(list(one.values.values())) for one in drawn]
    assert len(weights_of) == 6
    for number, one in enumerate(weights_of):
        assert not any(torch.allclose(one, other, atol=0.05) for other in weights_of[:number])


def test_held_out_images_are_never_trained_on_and_the_others_never_held_out(monkeypatch):
    task = search_task(two_levels())
    held, trained = set(), set()
    for number in range(2):
        held.update(task.held_out.names(number))
    trained.update(task.train_set.name(index) for index in range(len(task.train_set)))
    assert (len(held), len(trained)) == (4, 6)
    assert not held & trained
    assert task.steps_per_epoch == 3
    assert task.total_steps == 6


def test_warm_up_takes_no_held_out_batch_and_moves_the_weights_alone():
    task = search_task(two_levels(search__warmup_epochs=1))
    numbers = []
    read = task.held_out.batch
    task.held_out.batch = lambda number: (numbers.append(number), read(number))[1]
    for step in range(5):
        before = arch(task), weights(task)
        row, _ = task.step(*batch(step), step)
        assert same(before[0], arch(task)) == (step < 3)
        assert not same(before[1], weights(task))
        assert ("holdout_loss" in row) == (step >= 3)
    assert numbers == [0, 1]


def test_heavy_latency_weight_leads_to_a_cheaper_expectation_with_two_levels():
    task = search_task(two_levels(latency__weight=30.0, search__arch_lr=0.1, search__epochs=8, search__communication_lr=0.0))
    before = task.epoch_scalars()["expected_latency"]
    for step in range(15):
        task.step(*batch(step), step)
    assert task.epoch_scalars()["expected_latency"] < 0.8 * before


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    made = {}

    def get(relaxation):
        if relaxation not in made:
            made[relaxation] = tmp_path_factory.mktemp(relaxation) / "run"
            nas.search(resumable(made[relaxation], relaxation))
        return made[relaxation]

    return get


def resumable(out, relaxation, **changes):
    settings = {"search__checkpoint_every": 2, "search__warmup_epochs": 1, "data__size": [32, 32]}
    return two_levels(out, search__relaxation=relaxation, **settings, **changes)


class StoppedError(Exception):
    """Stands for a sudden death of the process."""


@pytest.mark.parametrize(("relaxation", "at"), [("soft", 5), ("sampled", 4)])
def test_two_levels_stopped_and_resumed_equal_never_stopped(uninterrupted, tmp_path, monkeypatch, relaxation, at):
    step = SearchTask.step

    def stopping(self, images, labels, number):
        if number == at:
            raise StoppedError
        return step(self, images, labels, number)

    with monkeypatch.context() as patch:
        patch.setattr(SearchTask, "step", stopping)
        with pytest.raises(StoppedError):
            nas.search(resumable(tmp_path / "run", relaxation))
    nas.search(resumable(tmp_path / "run", relaxation, resume=str(tmp_path / "run")))
    assert_same_run(tmp_path / "run", uninterrupted(relaxation))
    assert [row["step"] for row in rows(tmp_path / "run", "step")] == [1, 2, 3, 4, 5, 6]


def test_metrics_of_two_levels_tell_both_losses_apart(uninterrupted):
    first, second = rows(uninterrupted("sampled"), "train")
    assert "holdout_loss" not in first  # the warm-up
    assert all(math.isfinite(second[key]) for key in ("loss", "holdout_loss", "holdout_cross_entropy", "holdout_sampled_latency"))
    assert second["grad_norm_alpha"] > 0 == first["grad_norm_alpha"]


def state_of(task):
    return copy.deepcopy((dict(task.supernet.named_parameters()), task.optimisation.architecture.optimizer.state_dict()))


@pytest.mark.parametrize("where", ["held-out", "training"])
def test_non_finite_loss_on_either_batch_moves_neither_weights_nor_architecture(where):
    task = search_task(two_levels())
    task.step(*batch(), 0)
    before = state_of(task)
    images, labels = batch(5)
    give(task, *(batch(6) if where == "training" else (images * math.nan, labels)))
    with pytest.raises(NonFiniteLossError, match="got loss nan"):
        task.step(images if where == "held-out" else images * math.nan, labels, 1)
    assert_same_state(state_of(task), before)
    assert all(parameter.requires_grad for parameter in task.supernet.parameters())


def test_images_of_a_held_out_batch_with_a_non_finite_loss_are_named(tmp_path, monkeypatch):
    read = type(search_task(two_levels()).held_out).batch

    def poisoned(self, number):
        images, labels = read(self, number)
        return (images * math.nan if number == 4 else images), labels

    monkeypatch.setattr("nas.data.batches.held_out.HeldOutBatches.batch", poisoned)
    job = two_levels(tmp_path / "run")
    with pytest.raises(NonFiniteLossError) as caught:
        nas.search(job)
    names = ", ".join(search_task(job).held_out.names(4))
    assert f"at step 4 of epoch 2 on the held-out batch {names}; no weight was moved" in str(caught.value)
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "nonfinite.pt")["loop"]["step"] == 4


def test_search_with_two_levels_runs_from_the_command_line(run_nas):
    outcome = run_nas("search", *overrides(two_levels("run", search__max_steps=2, search__relaxation="sampled")))
    assert outcome.status == 0, outcome.err
    assert "nas train genotype=run/genotype.yaml" in outcome.out
    refused = run_nas("search", *overrides(search_job("other")), "search.level=two")
    assert (refused.status, len(refused.err_lines)) == (2, 1)
    assert "search.level: got 'two', expected one of single, bilevel" in refused.err


@pytest.mark.parametrize("relaxation", ["soft", "sampled"])
def test_one_level_is_one_backward_pass_for_both_optimisers_bit_by_bit(relaxation):
    job = search_job(latency__weight=0.3, search__relaxation=relaxation, search__warmup_epochs=1)
    task, twin = search_task(job), search_task(job)
    net = twin.supernet
    sgd = torch.optim.SGD(net.weight_parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    groups = [{"params": list(net.alpha_parameters())}, {"params": list(net.communication_parameters())}]
    adam = torch.optim.Adam(groups, lr=1e-3, betas=(0.5, 0.999), weight_decay=1e-4)
    for step in range(5):
        images, labels = batch(step)
        task.step(images, labels, step)
        for group in sgd.param_groups:
            group["lr"] = 0.001 + (0.025 - 0.001) * (1 + math.cos(math.pi * (step / 6))) / 2
        tau = math.pow(0.03, max(0, step - 3) / 2)  # held through the warm-up of three steps
        net.train()
        (logits,), latency = net(images, Draw(relaxation, tau, torch.Generator().manual_seed(step)))
        sgd.zero_grad()
        adam.zero_grad()
        (cross_entropy(logits, labels) + 0.3 * (latency / twin.control.uniform[0])).backward()
        torch.nn.utils.clip_grad_norm_(list(net.weight_parameters()), 5.0)
        torch.nn.utils.clip_grad_norm_(list(net.arch_parameters()), float("inf"))
        sgd.step()
        if step >= 3:
            adam.step()
    assert_same_state(dict(task.supernet.state_dict()), dict(net.state_dict()))
