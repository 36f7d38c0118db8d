"""Options of the training step: each does what it says, and at its neutral value nothing at all."""

from __future__ import annotations

import copy
import math
import random

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch.nn import functional

import nas
from nas.data import build_dataset
from nas.data.batches.loader import train_loader
from nas.distributed.fabric import make_fabric
from nas.errors import ConfigError, NonFiniteLossError
from nas.metrics import mean_iou
from nas.network.build import build_network
from nas.runs.checkpoint import load_checkpoint, load_weights
from nas.space.design import load_design
from nas.training.confusion import confusion_over
from nas.training.train_setup import make_task
from nas.training.train_task import TrainTask
from search_spaces import SEARCH_SPACES
from tests.small_jobs import STEPS_PER_EPOCH, assert_same_run, batch, overrides, random_genotype, rows, train_job

EVERYTHING = {
    "train__ema": 0.9,
    "train__accumulate": 2,
    "train__batch_size": 1,
    "train__class_weights": "auto",
    "train__grad_clip": 1.0,
    "train__checkpoint_every": 2,
}
TOTAL = 2 * STEPS_PER_EPOCH


@pytest.fixture(scope="module")
def genotype(tmp_path_factory):
    path = tmp_path_factory.mktemp("genotype") / "genotype.yaml"
    random_genotype(path)
    return path


def task_of(genotype, *, fabric=None, **changes) -> TrainTask:
    job = train_job(genotype, **changes)
    splits = {f"{split}_set": build_dataset(job.data, split) for split in ("train", "val")}
    return make_task(
        job,
        load_design(genotype, SEARCH_SPACES),
        SEARCH_SPACES,
        **splits,
        fabric=fabric or make_fabric(job.trainer),
    )


def gradients(task):
    return {name: parameter.grad.clone() for name, parameter in task.network.named_parameters()}


def plain_cross_entropy(logits, labels):
    losses = functional.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    return losses.sum() / (labels != 255).sum()


def plain_ohem(logits, labels):
    losses = functional.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    least = losses.detach().flatten().sort(descending=True).values[losses.numel() // 16 - 1]
    kept = (labels != 255) & (losses >= min(float(least), -math.log(0.7)))
    return torch.where(kept, losses, 0.0).sum() / kept.sum()


@pytest.mark.parametrize(("name", "loss"), [("cross_entropy", plain_cross_entropy), ("ohem", plain_ohem), (None, plain_ohem)])
def test_without_options_training_is_bitwise_the_plain_loop(genotype, tmp_path, name, loss):
    job = train_job(genotype, tmp_path / "run", train__loss=name)
    torch.manual_seed(job.seed)
    network = build_network(load_design(genotype, SEARCH_SPACES)).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    dataset, values = build_dataset(job.data, "train"), []
    for step in range(TOTAL):
        epoch, start = divmod(step, STEPS_PER_EPOCH)
        images, labels = next(iter(train_loader(dataset, batch_size=2, crop=None, seed=0, epoch=epoch, start_batch=start)))
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / TOTAL) ** 0.9
        optimizer.zero_grad()
        value = loss(network(images), labels)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    nas.train(job)
    assert [row["loss"] for row in rows(tmp_path / "run", "step")] == values
    weights = load_weights(tmp_path / "run" / "weights.safetensors")
    assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())
    assert set(load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")) == {
        "verb",
        "network",
        "optimizer",
        "inputs",
        "scores",
        "loop",
        "planned_steps",
    }


def freeze_batch_norm(task):
    """Let batch norm use its running statistics, which do not depend on how images are grouped."""
    task.network.eval()
    task.model.train = lambda: task.model
    return task


def uneven_batch():
    """Four images, the first two almost without labels."""
    images, labels = batch(num=4)
    labels[:2, :-3] = 255
    return images, labels


@pytest.mark.parametrize("weights", [None, [0.0, *range(1, 11)]])
@pytest.mark.parametrize("count", [2, 4])
def test_accumulated_cross_entropy_has_loss_and_gradient_of_one_large_batch(genotype, weights, count):
    common = {"train__loss": "cross_entropy", "train__class_weights": weights}
    large = freeze_batch_norm(task_of(genotype, train__batch_size=4, **common))
    small = freeze_batch_norm(task_of(genotype, train__batch_size=4 // count, train__accumulate=count, **common))
    (row, matrix), (other, other_matrix) = large.step(*uneven_batch(), 0), small.step(*uneven_batch(), 0)
    assert other["loss"] == pytest.approx(row["loss"], rel=1e-5)
    assert torch.equal(matrix, other_matrix)
    wanted, got = gradients(large), gradients(small)
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=1e-6)
    mean_of_means = freeze_batch_norm(task_of(genotype, train__batch_size=4 // count, train__accumulate=count, **common))
    mean_of_means.objective.shares = lambda labels: torch.full((len(labels),), 1 / len(labels))
    mean_of_means.step(*uneven_batch(), 0)
    assert any((value - wanted[name]).norm() > 0.05 * wanted[name].norm() for name, value in gradients(mean_of_means).items())


def test_accumulating_ohem_picks_pixels_within_each_batch(genotype):
    task = freeze_batch_norm(task_of(genotype, train__loss="ohem", train__batch_size=2, train__accumulate=2))
    images, labels = uneven_batch()
    with torch.no_grad():
        values = [plain_ohem(task.network(x), y) for x, y in zip(images.chunk(2), labels.chunk(2), strict=True)]
    valid = [int((y != 255).sum()) for y in labels.chunk(2)]
    expected = sum(float(value) * count for value, count in zip(values, valid, strict=True)) / sum(valid)
    assert task.step(images, labels, 0)[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_step_takes_batch_size_times_accumulate_images_in_the_order_of_one_large_batch(genotype, tmp_path):
    task = task_of(genotype, train__batch_size=1, train__accumulate=2)
    assert (task.plan.batch_size, task.total_steps) == (2, TOTAL)
    seen = []
    task.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[0]))
    task.step(*batch(), 0)
    assert seen == [1, 1]
    nas.train(train_job(genotype, tmp_path / "run", train__batch_size=1, train__accumulate=2))
    assert len(rows(tmp_path / "run", "step")) == TOTAL


def test_accumulated_batch_without_a_label_gives_zero_loss_and_zero_gradients(genotype):
    task = task_of(genotype, train__accumulate=2)
    images, labels = batch()
    assert task.step(images, torch.full_like(labels, 255), 0)[0]["loss"] == 0
    assert all(not gradient.any() for gradient in gradients(task).values())


def test_non_finite_loss_in_any_of_the_batches_moves_no_weight(genotype):
    task = task_of(genotype, train__accumulate=2)
    images, labels = batch()
    task.step(images, labels, 0)
    before = [parameter.detach().clone() for parameter in task.network.parameters()]
    images[0] = math.nan
    with pytest.raises(NonFiniteLossError, match="got loss nan"):
        task.step(images, labels, 1)
    assert all(torch.equal(old, new) for old, new in zip(before, task.network.parameters(), strict=True))


def test_average_of_the_weights_is_what_is_evaluated_and_saved_and_does_not_touch_the_training(genotype, tmp_path):
    expected, task = {}, task_of(genotype)
    for step in range(TOTAL):
        if not expected:
            expected = {name: value.double() for name, value in copy.deepcopy(task.network.state_dict()).items()}
        epoch, start = divmod(step, STEPS_PER_EPOCH)
        dataset = build_dataset(task.job.data, "train")
        task.step(*next(iter(train_loader(dataset, batch_size=2, crop=None, seed=0, epoch=epoch, start_batch=start))), step)
        decay = min(0.4, (1 + step) / (10 + step))
        for name, value in task.network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
    nas.train(train_job(genotype, tmp_path / "run", train__ema=0.4))
    nas.train(train_job(genotype, tmp_path / "off"))
    weights = load_weights(tmp_path / "run" / "weights.safetensors")
    for name, value in weights.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-4, atol=1e-5)
    state, off = (load_checkpoint(tmp_path / run / "checkpoints" / "last.pt") for run in ("run", "off"))
    assert all(torch.equal(state["network"][name], value) for name, value in off["network"].items())
    assert all(torch.equal(state["average"][name], value) for name, value in weights.items())
    assert not all(torch.equal(state["network"][name], value) for name, value in weights.items())
    network = nas.build(nas.load_genotype(genotype)).eval()
    network.load_state_dict(weights)
    matrix = confusion_over(network, task.objective.val_set, fabric=task.fabric, batch_size=2)
    assert rows(tmp_path / "run", "val")[-1]["miou"] == float(mean_iou(matrix))
    assert rows(tmp_path / "run", "step") == rows(tmp_path / "off", "step")


@pytest.mark.parametrize("loss", ["cross_entropy", "ohem"])
def test_class_weights_from_the_labels_are_those_of_a_count_over_the_training_split(genotype, loss):
    task = task_of(genotype, train__class_weights="auto", train__loss=loss)
    dataset = build_dataset(task.job.data, "train")
    labels = torch.stack([torch.from_numpy(dataset.load(i)[1].copy()) for i in range(len(dataset))])
    counts = [int((labels == label).sum()) for label in range(11)]
    expected = [1 / math.log(1.02 + count / sum(counts)) for count in counts]
    assert task.objective.weights.tolist() == [pytest.approx(value, rel=1e-5) for value in expected]
    listed = task_of(genotype, train__class_weights=expected, train__loss=loss)
    plain = task_of(genotype, train__loss=loss)
    values = [one.step(*batch(), 0)[0]["loss"] for one in (task, listed, plain)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert values[0] != pytest.approx(values[2], rel=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.class_weights=[1,2]", "train.class_weights: got 2 weights, expected 11, one for each of sky, "),
        ("train.class_weights=median", "train.class_weights: got 'median', expected null, auto, or a list"),
        ("train.class_weights=[1,-1]", "train.class_weights: got [1,-1], expected null, auto, or a list"),
        ("train.class_weights=[0,0]", "train.class_weights: got [0,0], expected null, auto, or a list"),
        ("train.ema=1", "train.ema: got 1.0, expected a decay from 0 (off) to below 1"),
        ("train.accumulate=0", "train.accumulate: got 0, expected at least 1"),
        ("train.task=detection", "train.task: got 'detection', expected one of segmentation, classification"),
        (
            "trainer.precision=16-mixed",
            "trainer.precision: got 16-mixed with trainer.accelerator=cpu, for float16 needs CUDA; give 32",
        ),
        (
            "trainer.precision=bf16-mixed",
            "got bf16-mixed with trainer.accelerator=cpu, where most searches were measured to end in",
        ),
        ("trainer.precision=fp16-mixed", "trainer.precision: got 'fp16-mixed', expected one of 32-true, bf16-mixed, 16-mixed"),
    ],
)
def test_wrong_option_is_status_2_and_leaves_no_folder(run_nas, genotype, tmp_path, setting, message):
    outcome = run_nas("train", *overrides(train_job(genotype, "run")), setting)
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert message in outcome.err
    assert not (tmp_path / "run").exists()


def test_options_work_from_the_command_line(run_nas, genotype, tmp_path):
    settings = ["train.class_weights=auto", "train.ema=0.99", "train.accumulate=2", "train.max_steps=1"]
    assert run_nas("train", *overrides(train_job(genotype, "auto")), *settings).status == 0
    listed = f"train.class_weights=[{','.join('1' * 11)}]"
    assert run_nas("train", *overrides(train_job(genotype, "ones")), listed, "train.max_steps=1").status == 0
    assert run_nas("train", *overrides(train_job(genotype, "none")), "train.max_steps=1").status == 0
    ones, none, auto = (rows(tmp_path / run, "step")[0]["loss"] for run in ("ones", "none", "auto"))
    assert ones == pytest.approx(none, rel=1e-6)
    assert auto != pytest.approx(none, rel=1e-5)


@pytest.mark.usefixtures("bf16_on_cpu")
@pytest.mark.parametrize("trainer", [{}, {"trainer__precision": "bf16-mixed"}])
def test_run_with_every_option_stopped_and_resumed_equals_one_never_stopped(genotype, tmp_path, monkeypatch, trainer):
    changes = {**EVERYTHING, **trainer}
    nas.train(train_job(genotype, tmp_path / "whole", **changes))
    at, step = random.Random(3).randrange(2, TOTAL), TrainTask.step
    with monkeypatch.context() as patch:

        def stopped(self, images, labels, number):
            if number == at:
                raise RuntimeError("stopped")
            return step(self, images, labels, number)

        patch.setattr(TrainTask, "step", stopped)
        with pytest.raises(RuntimeError, match="stopped"):
            nas.train(train_job(genotype, tmp_path / "run", **changes))
    nas.train(train_job(genotype, tmp_path / "run", resume=str(tmp_path / "run"), **changes))
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert "average" in load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")


def half_fabric(scale):
    """Float16 with scaled gradients on the CPU, which `make_fabric` refuses for it is slow, but which computes the same."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)
    return Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler=scaler)])


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_scaled_gradients_are_clipped_and_applied_unscaled(genotype, clip):
    tasks = [task_of(genotype, fabric=fabric, train__grad_clip=clip) for fabric in (half_fabric(2.0**10), None)]
    for task in tasks:
        task.step(*batch(), 0)
    got, wanted = (torch.cat([value.flatten() for value in gradients(task).values()]) for task in tasks)
    assert float((got - wanted).norm() / wanted.norm()) < 0.1
    if clip:
        assert float(got.norm()) == pytest.approx(clip, rel=1e-3)


def test_overflow_of_scaled_gradients_leaves_the_step_out_and_halves_the_scale(genotype):
    task = task_of(genotype, fabric=half_fabric(2.0**60), train__grad_clip=1.0)
    before = [parameter.detach().clone() for parameter in task.network.parameters()]
    row, _ = task.step(*batch(), 0)
    assert math.isfinite(row["loss"])
    assert all(torch.equal(old, new) for old, new in zip(before, task.network.parameters(), strict=True))
    assert task.state()["precision"]["scale"] == 2.0**59
    other = task_of(genotype, fabric=half_fabric(1.0), train__grad_clip=1.0)
    other.load_state(task.state())
    assert other.state()["precision"] == task.state()["precision"]


def test_gradient_that_is_not_finite_without_any_scale_stops_the_training(genotype):
    for fabric in (half_fabric(1.0), None):
        task = task_of(genotype, fabric=fabric)
        next(task.network.parameters()).register_hook(lambda gradient: gradient * math.inf)
        before = [parameter.detach().clone() for parameter in task.network.parameters()]
        with pytest.raises(NonFiniteLossError, match="got a gradient of norm"):
            task.step(*batch(), 0)
        assert all(torch.equal(old, new) for old, new in zip(before, task.network.parameters(), strict=True))


def test_float16_is_refused_to_a_caller_that_does_not_scale_gradients():
    with pytest.raises(ConfigError, match="got 16-mixed, which only nas train knows"):
        make_fabric(train_job("x", trainer__precision="16-mixed").trainer)


@pytest.mark.gpu
def test_training_in_float16_on_cuda_comes_near_to_full_precision(genotype, tmp_path):
    cuda = {"trainer__accelerator": "cuda", "train__ema": 0.9, "train__accumulate": 2, "train__batch_size": 1}
    for precision in ("16-mixed", "32-true"):
        nas.train(train_job(genotype, tmp_path / precision, trainer__precision=precision, **cuda))
    half, full = ([row["loss"] for row in rows(tmp_path / precision, "step")] for precision in ("16-mixed", "32-true"))
    assert half == [pytest.approx(value, rel=0.1) for value in full]
    assert load_checkpoint(tmp_path / "16-mixed" / "checkpoints" / "last.pt")["precision"]["scale"] > 1
