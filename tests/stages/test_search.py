"""Search: the objective, the two optimisers, schedules, what is written, and what stops it."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
import yaml

import nas
from nas.losses import cross_entropy
from nas.runs.checkpoint import load_checkpoint
from nas.space.deployment import Deployment
from nas.space.weights import Weights, one_hot
from nas.supernet.architecture import light_share
from nas.supernet.supernet import Draw
from tests.small_jobs import SIZE, STEPS_PER_EPOCH, batch, made_up_table, rows, search_job, search_task

LIGHT = {"none", "skip_connect", "max_pool_3x3", "global_pool_1x1", "global_pool_2x2", "global_pool_5x5"}


def uniform_latency(task):
    """Expected latency of equal weights for all options of every decision."""
    values = {choice.name: torch.full((len(choice.options),), 1 / len(choice.options)) for choice in task.space.choices()}
    return float(task.supernet.latencies[0](Weights(values, {})))


def copies(parameters):
    return [parameter.detach().clone() for parameter in parameters]


def moved(before, parameters):
    return [not torch.equal(old, new) for old, new in zip(before, parameters, strict=True)]


def arch_grads(task):
    return [p.grad.clone() for p in task.supernet.arch_parameters()]


@pytest.mark.parametrize("relaxation", ["soft", "hard", "sampled"])
def test_loss_is_cross_entropy_plus_weight_times_latency_over_that_of_uniform_parameters(relaxation):
    task = search_task(search_job(latency__weight=0.7, search__relaxation=relaxation))
    row, _ = task.step(*batch(), 3)
    assert row["loss"] == pytest.approx(row["cross_entropy"] + 0.7 * row["sampled_latency"] / uniform_latency(task), rel=1e-6)
    assert task.control.uniform[0] == pytest.approx(uniform_latency(task))


@pytest.mark.parametrize(("unit", "scale"), [("ms", 1.0), ("us", 1000.0)])
def test_absolute_units_weigh_milliseconds_or_a_thousand_microseconds_each(tmp_path, unit, scale):
    made_up_table(tmp_path / "table.json")
    task = search_task(search_job(latency__table=str(tmp_path / "table.json"), latency__unit=unit, latency__weight=0.5))
    row, _ = task.step(*batch(), 0)
    assert row["sampled_latency"] > 0
    assert row["loss"] == pytest.approx(row["cross_entropy"] + 0.5 * scale * row["sampled_latency"], rel=1e-6)


def test_latency_of_a_sampled_step_is_the_sum_of_the_table_over_the_network_that_was_drawn(tmp_path):
    table = made_up_table(tmp_path / "table.json")
    task = search_task(search_job(latency__table=str(tmp_path / "table.json"), search__relaxation="sampled"))
    drawn = task.supernet.sample(Draw("sampled", task.draws.tau(2), task.draws.noise(2))).drawn
    decided = {choice.name: choice.options[drawn[choice.name]] for choice in task.space.choices()}
    graph = task.space.graph(Deployment(SIZE, 4, 11), decided)
    costs = [
        table.entries[node.spec.key].median_ms * (len(node.inputs) - 1 if node.spec.kind == "add" else 1)
        for node in graph.nodes
        if node.role == "op" and node.spec.kind not in ("none", "identity")
    ]
    row, _ = task.step(*batch(), 2)
    assert row["sampled_latency"] == pytest.approx(sum(costs), rel=1e-6)


def test_cross_entropy_of_the_row_is_that_of_the_supernet_on_the_weights_of_the_step():
    task, twin = (search_task(search_job(latency__weight=0.7)) for _ in range(2))
    images, labels = batch()
    row, _ = task.step(images, labels, 1)
    z = twin.supernet.sample(Draw("soft", twin.draws.tau(1), twin.draws.noise(1)))
    logits = twin.supernet.network.train()(images, z)
    log_p = torch.log_softmax(logits.detach().double(), dim=1)
    picked = [-log_p[n, labels[n, y, x], y, x] for n, y, x in (labels != 255).nonzero().tolist()]
    assert row["cross_entropy"] == pytest.approx(float(torch.stack(picked).mean()), rel=1e-4)


def test_gradient_of_the_architecture_is_that_of_cross_entropy_alone_at_weight_0_and_adds_the_latencys_otherwise():
    grads = {}
    images, labels = batch()
    for weight in (0.0, 0.5, 2.0):
        task = search_task(search_job(latency__weight=weight))
        task.step(images, labels, 0)
        grads[weight] = arch_grads(task)
    twin = search_task(search_job())
    (logits,), latency = twin.supernet.train()(images, Draw("soft", 1.0, twin.draws.noise(0)))
    parameters = list(twin.supernet.arch_parameters())
    from_entropy = torch.autograd.grad(cross_entropy(logits, labels), parameters, retain_graph=True)
    from_latency = torch.autograd.grad(latency / uniform_latency(twin), parameters)
    for weight, found in grads.items():
        for mine, entropy, cost in zip(found, from_entropy, from_latency, strict=True):
            torch.testing.assert_close(mine, entropy + weight * cost, rtol=1e-4, atol=1e-7)
    assert all(float(cost.abs().sum()) > 0 for cost in from_latency[:3])


def test_noise_is_a_function_of_seed_and_step_that_repeats_in_neither():
    tasks = [search_task(search_job(seed=seed)) for seed in (0, 0, 1)]
    steps = range(-2, 5)  # below zero: the evaluations
    drawn = [[torch.rand(20, generator=task.draws.noise(step)) for step in steps] for task in tasks]
    assert all(torch.equal(one, same) for one, same in zip(drawn[0], drawn[1], strict=True))
    different = [*drawn[0], *drawn[2]]
    assert len({tuple(noise.tolist()) for noise in different}) == len(different)


def test_heavy_latency_weight_leads_to_a_cheaper_expectation():
    job = search_job(latency__weight=30.0, search__arch_lr=0.1, search__epochs=8, space__communication="none")
    task = search_task(job)
    before = task.epoch_scalars()["expected_latency"]
    for step in range(15):
        task.step(*batch(step), step)
    assert task.epoch_scalars()["expected_latency"] < 0.8 * before


def test_alphas_rest_in_the_warm_up_and_weights_move():
    task = search_task(search_job(search__warmup_epochs=1))
    for step in range(STEPS_PER_EPOCH + 1):
        arch, weights = copies(task.supernet.arch_parameters()), copies(task.supernet.weight_parameters())
        task.step(*batch(step), step)
        assert any(moved(arch, task.supernet.arch_parameters())) == (step >= STEPS_PER_EPOCH)
        assert any(moved(weights, task.supernet.weight_parameters()))


def test_only_the_gradient_of_the_network_weights_is_clipped():
    norms, arch = {}, {}
    for clip in (0.0, 0.01):
        task = search_task(search_job(search__grad_clip=clip))
        task.step(*batch(), 0)
        squares = [float(p.grad.double().square().sum()) for p in task.supernet.weight_parameters() if p.grad is not None]
        norms[clip], arch[clip] = math.sqrt(sum(squares)), arch_grads(task)
    assert norms[0.0] > 0.1
    assert norms[0.01] == pytest.approx(0.01, rel=1e-3)
    assert all(torch.equal(one, other) for one, other in zip(arch[0.0], arch[0.01], strict=True))
    assert sum(float(grad.square().sum()) for grad in arch[0.01]) > 0


@pytest.mark.parametrize("communication_lr", [None, 0.0001])
def test_weights_follow_sgd_on_a_cosine_and_alphas_adam_at_a_constant_rate(communication_lr):
    task = search_task(
        search_job(
            search__weight_lr=0.2,
            search__weight_lr_end=0.05,
            search__arch_lr=0.003,
            search__communication_lr=communication_lr,
            search__relaxation="sampled",
        )
    )
    total = 2 * STEPS_PER_EPOCH
    alphas, guided = (list(ps) for ps in (task.supernet.alpha_parameters(), task.supernet.communication_parameters()))
    for step in range(total):
        task.step(*batch(), step)
        expected = 0.05 + (0.2 - 0.05) * (1 + math.cos(math.pi * step / total)) / 2
        assert [group["lr"] for group in task.optimisation.weights.optimizer.param_groups] == [pytest.approx(expected)]
        rates = {id(p): group["lr"] for group in task.optimisation.architecture.optimizer.param_groups for p in group["params"]}
        assert rates == {id(p): 0.003 for p in alphas} | {id(p): communication_lr or 0.003 for p in guided}
    (weights,), arch = task.optimisation.weights.optimizer.param_groups, task.optimisation.architecture.optimizer.param_groups
    assert (weights["momentum"], weights["weight_decay"]) == (0.9, 1e-3)
    assert {(tuple(group["betas"]), group["weight_decay"]) for group in arch} == {((0.5, 0.999), 1e-4)}
    assert {type(task.optimisation.weights.optimizer.optimizer), type(task.optimisation.architecture.optimizer.optimizer)} == {
        torch.optim.SGD,
        torch.optim.Adam,
    }


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of two epochs with everything measured by a table."""
    folder = tmp_path_factory.mktemp("searched")
    made_up_table(folder / "table.json")
    job = search_job(folder / "run", latency__table=str(folder / "table.json"), search__relaxation="hard")
    return job, nas.search(job)


def test_metrics_hold_everything_that_tells_how_a_search_goes(searched):
    job, result = searched
    assert [(row["split"], row["epoch"]) for row in rows(result.out) if row["split"] != "step"] == [
        (split, epoch) for epoch in range(2) for split in ("train", "val", "val_argmax")
    ]
    for row in rows(result.out, "train"):
        for key in ("loss", "cross_entropy", "sampled_latency", "miou", "expected_latency", "tau", "entropy", "light_share"):
            assert math.isfinite(row[key]), key
        assert row["grad_norm_alpha"] > 0
        assert row["grad_norm_communication"] > 0
        assert 0 < row["entropy"] <= 1
    for split in ("val", "val_argmax"):
        assert all(0 <= row["miou"] <= 1 and row["latency"] > 0 for row in rows(result.out, split))


def test_temperature_starts_and_ends_where_the_settings_say(searched):
    job, result = searched
    steps = rows(result.out, "step")
    total = 2 * STEPS_PER_EPOCH
    assert len(steps) == total
    assert (steps[0]["tau"], steps[-1]["tau"]) == (pytest.approx(1.0), pytest.approx(0.03))
    for number, row in enumerate(steps):
        assert row["tau"] == pytest.approx(0.03 ** (number / (total - 1)))


def test_supernet_is_evaluated_at_the_temperature_of_the_step_also_when_max_steps_is_short(monkeypatch):
    task = search_task(search_job(search__epochs=50, search__max_steps=7))
    draws = []
    sample = type(task.supernet).sample
    monkeypatch.setattr(type(task.supernet), "sample", lambda self, draw: (draws.append(draw), sample(self, draw))[1])
    for epoch, step in ((0, 3), (1, 6), (2, 6)):
        task.evaluate(epoch)
        assert draws[-1].tau == pytest.approx(0.03 ** (step / 6))


def test_light_share_counts_zero_skip_and_pooling_where_they_are_offered(searched):
    _, result = searched
    space = nas.build_space(search_job().space)
    options = {choice.name: choice.options for choice in space.choices()}
    choices = yaml.safe_load((result.out / "genotype.yaml").read_text())["choices"]
    could = [name for name in choices if LIGHT & set(options[name])]
    assert 0 < len(could) < len(choices)
    did = [name for name in could if choices[name] in LIGHT]
    assert rows(result.out, "train")[-1]["light_share"] == result.light_share == len(did) / len(could)
    first = {name: values[0] for name, values in options.items()}
    heavy = {name: next((o for o in values if o not in LIGHT), values[0]) for name, values in options.items()}
    assert light_share(heavy, space) == 0
    assert light_share(first, space) == sum(first[name] in LIGHT for name in could) / len(could)


def test_derived_genotype_is_predicted_at_the_latency_that_the_last_evaluation_logged(searched):
    job, result = searched
    predicted = nas.predict(nas.load_genotype(result.out), nas.load_table(job.latency.table)).ms
    assert predicted == pytest.approx(rows(result.out, "val_argmax")[-1]["latency"], rel=1e-6)
    assert predicted == pytest.approx(result.latency, rel=1e-6)
    assert result.genotype.provenance["expected_latency"] == result.latency
    assert result.genotype.provenance["table"] == "some-board/torch-eager-fp32-b1-t1"


def test_expected_latency_of_an_epoch_is_that_of_the_softmax_of_the_guided_logits(searched):
    job, result = searched
    task = search_task(job)
    task.load_state(load_checkpoint(result.out / "checkpoints" / "last.pt"))
    logits = task.supernet.guided_logits()["default"]
    values = {c.name: torch.softmax(logits[c.group][c.row].detach(), dim=0) for c in task.space.choices()}
    expected = float(task.supernet.latencies[0](Weights(values, {})))
    assert rows(result.out, "train")[-1]["expected_latency"] == pytest.approx(expected, rel=1e-9)


def test_summary_names_the_files_and_the_next_command(searched):
    _, result = searched
    text = "\n".join(result.summary())
    for name in ("genotype.yaml", "metrics.jsonl", "checkpoints", "config.yaml"):
        assert (result.out / name).exists()
        assert str(result.out / name) in text
    assert f"nas train genotype={result.out / 'genotype.yaml'} data=synthetic" in text


def test_same_seed_gives_the_same_search_and_another_seed_another(tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        nas.search(search_job(tmp_path / name, seed=seed, search__relaxation="sampled"))
    assert rows(tmp_path / "one") == rows(tmp_path / "same")
    one, same, other = (yaml.safe_load((tmp_path / n / "genotype.yaml").read_text()) for n in ("one", "same", "other"))
    assert one["choices"] == same["choices"] != other["choices"]
    losses = [[row["loss"] for row in rows(tmp_path / name, "step")] for name in ("one", "other")]
    assert all(a != b for a, b in zip(*losses, strict=True))


@pytest.mark.parametrize("communication", ["gcn", "none"])
def test_search_without_a_table_looks_at_cross_entropy_alone(tmp_path, communication):
    job = search_job(tmp_path / "run", latency__table="none", search__max_steps=2, space__communication=communication)
    result = nas.search(job)
    assert result.latency is None
    assert all(row["loss"] == row["cross_entropy"] for row in rows(result.out, "step"))
    (row,) = rows(result.out, "train")
    assert "expected_latency" not in row
    assert (row["grad_norm_communication"] > 0) == (communication == "gcn")
    assert "latency" not in rows(result.out, "val_argmax")[0]
    assert "predicted latency" not in "\n".join(result.summary())


@pytest.mark.usefixtures("bf16_on_cpu")
@pytest.mark.parametrize("relaxation", ["soft", "sampled"])
def test_search_in_mixed_precision_keeps_latency_and_parameters_in_full(tmp_path, relaxation):
    job = search_job(
        tmp_path / "run", search__max_steps=2, search__relaxation=relaxation, trainer__precision="bf16-mixed", latency__weight=1.0
    )
    result = nas.search(job)
    assert all(math.isfinite(row["loss"]) for row in rows(result.out, "step"))
    state = load_checkpoint(result.out / "checkpoints" / "last.pt")["supernet"]
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}
    full = dataclasses.replace(job, out=None, trainer=dataclasses.replace(job.trainer, precision="32-true"))
    row, _ = search_task(full).step(*batch(), 0)
    mixed, _ = search_task(dataclasses.replace(job, out=None)).step(*batch(), 0)
    assert mixed["sampled_latency"] == pytest.approx(row["sampled_latency"], rel=1e-6)
    assert mixed["cross_entropy"] != row["cross_entropy"]
    assert mixed["cross_entropy"] == pytest.approx(row["cross_entropy"], rel=0.05)


def test_max_steps_ends_a_search_early_with_a_genotype(tmp_path):
    result = nas.search(search_job(tmp_path / "run", search__max_steps=1, search__epochs=60))
    assert [row["step"] for row in rows(result.out)] == [1, 1, 1, 1]
    assert json.loads((result.out / "done.json").read_text())["seconds"] > 0
    assert nas.load_genotype(result.out).choices == result.genotype.choices


def test_argmax_network_is_evaluated_with_one_option_a_decision(searched):
    job, result = searched
    task = search_task(dataclasses.replace(job, search=dataclasses.replace(job.search, recalibrate=0)))
    task.load_state(load_checkpoint(result.out / "checkpoints" / "last.pt"))
    weights = one_hot(result.genotype.choices, task.space.choices())
    matrix = np.zeros((11, 11), dtype=int)
    task.supernet.eval()
    for index in range(len(task.val_set)):
        image, label = task.val_set.load(index)
        normal = (image / np.float32(255) - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
        with torch.no_grad():
            logits = task.supernet.network(torch.from_numpy(normal).permute(2, 0, 1)[None].float(), weights)
        np.add.at(matrix, (label[label != 255], logits[0].argmax(dim=0).numpy()[label != 255]), 1)
    true, union = np.diag(matrix), matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    miou = (true[union > 0] / union[union > 0]).mean()
    assert dict(task.evaluate(1)[0])["val_argmax"]["miou"] == pytest.approx(miou, abs=1e-3)


@pytest.mark.parametrize("communication", ["none", "gcn"])
def test_the_derivation_follows_the_logits_whenever_it_is_asked_for(communication):
    task = search_task(search_job(space__communication=communication))
    before = dict(task.derived.first().choices)
    group, logits = next(iter(task.supernet.architectures["default"].alpha.items()))
    choice = next(one for one in task.space.choices() if one.group == group and one.row == 0)
    other = next(k for k, option in enumerate(choice.options) if option not in (before[choice.name], "none"))
    with torch.no_grad():
        logits[0, other] += 100.0
    assert task.derived.first().choices[choice.name] == choice.options[other] != before[choice.name]


def test_summary_says_when_the_architecture_is_hardly_decided(searched):
    _, result = searched
    last = rows(result.out, "train")[-1]
    assert result.entropy == pytest.approx(last["entropy"], rel=1e-6)
    warning = "the architecture is hardly decided, entropy 0.951 of 1; give more search.epochs or a higher search.arch_lr"
    assert any(warning in line for line in dataclasses.replace(result, entropy=0.951).summary())
    assert not any("decided" in line for line in dataclasses.replace(result, entropy=0.95).summary())


def test_a_search_that_is_all_warm_up_says_that_the_architecture_does_not_move(tmp_path, caplog):
    nas.search(search_job(tmp_path / "run", search__epochs=1, search__warmup_epochs=1, search__relaxation="sampled"))
    said = (
        "search.warmup_epochs: got 1, which are all 3 steps, and the architecture does not move in them; give fewer, or "
        "search.candidates, among which one is chosen all the same"
    )
    assert said in [record.getMessage() for record in caplog.records]


def test_summary_says_when_the_network_is_outside_of_the_band_of_frames_per_second(searched):
    _, result = searched
    outside = dataclasses.replace(result, latency=5.0, band_fps=(155.0, 175.0)).summary()
    warning = "200 FPS predicted, outside of latency.band_fps=[155.0,175.0]; give more search.epochs or another latency.weight"
    assert any(warning in line for line in outside)
    inside = dataclasses.replace(result, latency=6.0, band_fps=(155.0, 175.0)).summary()
    assert not any("FPS" in line for line in inside)
