"""The loop that search and training share, with a task of one linear layer: rhythm, checkpoints, every stop and resume."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import get_worker_info

from nas.config.settings import TrainerSettings
from nas.data.batches.loader import epoch_order, train_loader
from nas.data.dataset import SegmentationDataset
from nas.data.scan_facts import ScanFacts
from nas.distributed.fabric import make_fabric
from nas.errors import DataWorkerError, NonFiniteLossError
from nas.metrics import confusion_matrix, mean_iou
from nas.runs.checkpoint import load_checkpoint
from nas.training.loop import fit
from nas.training.loop_state import LoopPlan, LoopState
from tests.small_jobs import assert_same_state, rows

SIZE = (4, 6)
IMAGES = 7  # with batches of 2: three steps an epoch, one image left over
PER_EPOCH = 3


class Coins(SegmentationDataset):
    """Random pictures of two classes."""

    classes = ("heads", "tails")
    palette = np.array([[0, 0, 0], [255, 255, 255]], dtype=np.uint8)
    split = "train"

    def __len__(self):
        return IMAGES

    @property
    def size(self):
        return SIZE

    def name(self, index):
        return f"coin_{index}"

    def load(self, index):
        rng = np.random.default_rng(index)
        return rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8), rng.integers(0, 2, SIZE, dtype=np.uint8)

    def scan(self):
        return ScanFacts(len(self))


class Stopped(Exception):  # noqa: N818
    """Stands for a sudden death of the process."""


class Linear:
    """A task that fits a 1x1 convolution by SGD with momentum; `act` may do something in a step before anything else."""

    def __init__(self, act=lambda step: None, scores=None):
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 2, 1)
        self.optimizer = torch.optim.SGD(self.layer.parameters(), lr=0.1, momentum=0.9)
        self.act, self.scores = act, scores
        self.seen, self.evaluated = [], []

    def step(self, images, labels, step):
        self.act(step)
        self.seen.append(images.clone())
        logits = self.layer(images)
        loss = nn.functional.cross_entropy(logits, labels, ignore_index=255)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": float(loss.detach())}, confusion_matrix(logits.argmax(dim=1), labels, 2)

    def evaluate(self, epoch):
        self.evaluated.append(epoch)
        score = float(self.layer.weight.detach().sum()) if self.scores is None else self.scores[epoch]
        return [("val", {"miou": score})], score

    def epoch_scalars(self):
        return {"norm": float(self.layer.weight.detach().norm())}

    def scheduled(self, step, total):
        return {"rate": 1 - step / total}

    def learning_rate(self):
        return 0.1

    def state(self):
        return {"layer": self.layer.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state):
        self.layer.load_state_dict(state["layer"])
        self.optimizer.load_state_dict(state["optimizer"])


def plan(**changes):
    settings = {"epochs": 3, "max_steps": None, "batch_size": 2, "crop": SIZE, "seed": 0, "workers": 0}
    rhythm = {"eval_every": 1, "checkpoint_every": 0, "log_every": 1}
    return LoopPlan(**{**settings, **rhythm, **changes})


def run(task, out, *, resume=False, **changes):
    fabric = make_fabric(TrainerSettings(accelerator="cpu", threads=1))
    fit(task, plan(**changes), Coins(), fabric=fabric, out=out, resume=resume)
    return task


def stop_at(number, error=Stopped):
    def act(step):
        if step == number:
            raise error

    return act


def states(out):
    found = {name: load_checkpoint(out / "checkpoints" / f"{name}.pt") for name in ("last", "best")}
    for state in found.values():
        state["loop"].pop("metrics_offset")
    return found


@pytest.mark.parametrize("checkpoint_every", [0, 1, 2])
def test_stopped_at_any_step_and_resumed_equals_never_stopped(tmp_path, checkpoint_every):
    rhythm = {"checkpoint_every": checkpoint_every, "log_every": 2}
    whole = run(Linear(), tmp_path / "whole", **rhythm)
    first_checkpoint = checkpoint_every or PER_EPOCH
    for number in range(first_checkpoint, 3 * PER_EPOCH):
        out = tmp_path / f"stopped_{number}"
        with pytest.raises(Stopped):
            run(Linear(stop_at(number)), out, **rhythm)
        resumed = run(Linear(), out, resume=True, **rhythm)
        assert rows(out) == rows(tmp_path / "whole")
        assert_same_state(states(out), states(tmp_path / "whole"))
        for mine, expected in zip(resumed.seen[::-1], whole.seen[::-1], strict=False):
            assert torch.equal(mine, expected)


def test_stopped_twice_and_resumed_equals_never_stopped(tmp_path):
    rhythm = {"checkpoint_every": 2}
    run(Linear(), tmp_path / "whole", **rhythm)
    with pytest.raises(Stopped):
        run(Linear(stop_at(5)), tmp_path / "stopped", **rhythm)
    with pytest.raises(Stopped):
        run(Linear(stop_at(7)), tmp_path / "stopped", resume=True, **rhythm)
    run(Linear(), tmp_path / "stopped", resume=True, **rhythm)
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")
    assert_same_state(states(tmp_path / "stopped"), states(tmp_path / "whole"))


def test_rows_behind_the_checkpoint_and_a_torn_line_are_cut_off(tmp_path):
    with pytest.raises(Stopped):
        run(Linear(stop_at(5)), tmp_path)
    assert [row["step"] for row in rows(tmp_path, "step")] == [1, 2, 3, 4, 5]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "epo')
    run(Linear(), tmp_path, resume=True)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [row["step"] for row in map(json.loads, lines) if row["split"] == "step"] == list(range(1, 10))


def test_steps_of_an_epoch_see_the_batches_of_the_loader(tmp_path):
    task = run(Linear(), tmp_path, epochs=2)
    expected = [images for epoch in range(2) for images, _ in train_loader(Coins(), batch_size=2, crop=SIZE, seed=0, epoch=epoch)]
    assert len(task.seen) == len(expected) == 2 * PER_EPOCH
    assert all(torch.equal(mine, other) for mine, other in zip(task.seen, expected, strict=True))


def test_row_of_an_epoch_is_the_mean_of_its_steps_and_the_miou_of_their_pixels(tmp_path):
    matrices = []

    class Noting(Linear):
        def step(self, images, labels, step):
            row, matrix = super().step(images, labels, step)
            matrices.append(matrix)
            return row, matrix

    run(Noting(), tmp_path, epochs=2)
    losses = [row["loss"] for row in rows(tmp_path, "step")]
    for epoch, row in enumerate(rows(tmp_path, "train")):
        steps = slice(epoch * PER_EPOCH, (epoch + 1) * PER_EPOCH)
        assert row["loss"] == pytest.approx(sum(losses[steps]) / PER_EPOCH, rel=1e-12)
        assert row["miou"] == pytest.approx(float(mean_iou(sum(matrices[steps]))), rel=1e-12)
        assert (row["epoch"], row["step"]) == (epoch, (epoch + 1) * PER_EPOCH)
        assert row["norm"] > 0


@pytest.mark.parametrize(
    ("eval_every", "epochs", "expected"), [(1, 3, [0, 1, 2]), (2, 3, [1, 2]), (2, 4, [1, 3]), (0, 3, [2]), (5, 3, [2])]
)
def test_evaluation_is_due_every_so_many_epochs_and_after_the_last(tmp_path, eval_every, epochs, expected):
    task = run(Linear(), tmp_path, eval_every=eval_every, epochs=epochs)
    assert task.evaluated == expected
    assert [row["epoch"] for row in rows(tmp_path, "val")] == expected


@pytest.mark.parametrize(("max_steps", "steps", "evaluated"), [(1, 1, [0]), (4, 4, [0, 1]), (6, 6, [0, 1]), (99, 9, [0, 1, 2])])
def test_max_steps_ends_the_run_with_an_evaluation_and_a_checkpoint(tmp_path, max_steps, steps, evaluated):
    task = run(Linear(), tmp_path, max_steps=max_steps)
    assert len(task.seen) == steps
    assert task.evaluated == evaluated
    assert load_checkpoint(tmp_path / "checkpoints" / "last.pt")["loop"]["step"] == steps


def test_best_checkpoint_is_the_first_of_the_largest_score(tmp_path):
    run(Linear(scores=[0.2, 0.5, 0.5, 0.1]), tmp_path, epochs=4)
    best, last = (load_checkpoint(tmp_path / "checkpoints" / f"{name}.pt")["loop"] for name in ("best", "last"))
    assert (best["step"], best["best"]) == (2 * PER_EPOCH, 0.5)
    assert (last["step"], last["best"]) == (4 * PER_EPOCH, 0.5)


def test_best_is_remembered_over_a_resume(tmp_path):
    scores = [0.2, 0.5, 0.3]
    with pytest.raises(Stopped):
        run(Linear(stop_at(2 * PER_EPOCH + 1), scores), tmp_path)
    run(Linear(scores=scores), tmp_path, resume=True)
    assert load_checkpoint(tmp_path / "checkpoints" / "best.pt")["loop"]["step"] == 2 * PER_EPOCH


@pytest.mark.parametrize(("log_every", "expected"), [(1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (4, [4]), (99, [])])
def test_rows_of_single_steps_come_every_so_many(tmp_path, log_every, expected):
    run(Linear(), tmp_path, epochs=2, log_every=log_every)
    assert [row["step"] for row in rows(tmp_path, "step")] == expected


@pytest.mark.parametrize("number", [0, 4])
def test_non_finite_loss_is_named_by_step_and_images_and_its_state_saved(tmp_path, number):
    task = Linear(stop_at(number, NonFiniteLossError("got loss nan")))
    with pytest.raises(NonFiniteLossError) as caught:
        run(task, tmp_path)
    epoch, batch = divmod(number, PER_EPOCH)
    order = np.random.default_rng(np.random.SeedSequence([0, epoch], spawn_key=(0,))).permutation(IMAGES)
    names = ", ".join(f"coin_{index}" for index in order[2 * batch : 2 * batch + 2])
    assert f"got loss nan at step {number} of epoch {epoch + 1} on the batch {names}; no weight was moved by it" in str(
        caught.value
    )
    state = load_checkpoint(tmp_path / "checkpoints" / "nonfinite.pt")
    assert state["loop"]["step"] == number
    assert_same_state(state["layer"], dict(task.layer.state_dict()))


@pytest.mark.parametrize("number", range(4))
def test_ctrl_c_saves_after_the_step_and_the_resumed_run_equals_one_never_interrupted(tmp_path, number, caplog):
    def press(step):
        if step == number:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    run(Linear(), tmp_path / "whole", epochs=2)
    with pytest.raises(KeyboardInterrupt):
        run(Linear(press), tmp_path / "stopped", epochs=2)
    total, words = 2 * PER_EPOCH, f"resume={tmp_path / 'stopped'}"
    assert caplog.messages[-1] == f"saved after step {number + 1} of {total}; to go on, give the same command with {words}"
    assert signal.getsignal(signal.SIGINT) is before
    assert load_checkpoint(tmp_path / "stopped" / "checkpoints" / "last.pt")["loop"]["step"] == number + 1
    run(Linear(), tmp_path / "stopped", epochs=2, resume=True)
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")
    assert_same_state(states(tmp_path / "stopped"), states(tmp_path / "whole"))


def test_a_killed_worker_saves_the_steps_that_are_done_and_the_resumed_run_equals_one_never_killed(tmp_path, monkeypatch):
    run(Linear(), tmp_path / "whole")
    victim, is_time = int(epoch_order(IMAGES, seed=0, epoch=1)[4]), []  # in the third batch of the second epoch
    load = Coins.load

    def kill(self, index):
        if index == victim and is_time and get_worker_info() is not None:
            time.sleep(0.3)  # what was made before has been handed over
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, index)

    def act(step):
        if step == PER_EPOCH - 1:
            is_time.append(True)  # for the worker of the next epoch

    out = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(Coins, "load", kill)
        with pytest.raises(
            DataWorkerError, match=r"SIGKILL.*saved after step 5 of 9; to go on, give the same command with resume="
        ):
            run(Linear(act), out, workers=1)
    assert multiprocessing.active_children() == []
    resumed = run(Linear(), out, resume=True, workers=1)
    assert len(resumed.seen) == 4
    assert rows(out) == rows(tmp_path / "whole")
    assert_same_state(states(out), states(tmp_path / "whole"))


def test_second_ctrl_c_interrupts_at_once(tmp_path):
    def press(step):
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(Linear(press), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_loop_runs_outside_the_main_thread_where_no_signal_can_be_handled(tmp_path):
    thread = threading.Thread(target=lambda: run(Linear(), tmp_path, epochs=1))
    thread.start()
    thread.join(timeout=60)
    assert len(rows(tmp_path, "step")) == PER_EPOCH


def test_epoch_without_a_valid_pixel_has_no_miou_and_the_run_goes_on(tmp_path, monkeypatch):
    def void(self, index):
        del self, index
        return np.zeros((*SIZE, 3), dtype=np.uint8), np.full(SIZE, 255, dtype=np.uint8)

    class Zero(Linear):
        def step(self, images, labels, step):
            assert (labels == 255).all()
            return {"loss": 0.0}, confusion_matrix(self.layer(images).argmax(dim=1), labels, 2)

    monkeypatch.setattr(Coins, "load", void)
    run(Zero(), tmp_path, epochs=2)
    assert [(row["loss"], row["miou"]) for row in rows(tmp_path, "train")] == [(0.0, None)] * 2


def test_averages_start_anew_after_each_flush():
    state = LoopState()
    state.add({"loss": 1.0}, torch.tensor([[1, 0], [1, 2]]))
    state.add({"loss": 3.0}, torch.tensor([[0, 0], [0, 2]]))
    assert state.flush() == {"loss": 2.0, "miou": pytest.approx((1 / 2 + 4 / 5) / 2)}
    state.add({"loss": 5.0}, torch.tensor([[0, 1], [0, 0]]))
    assert state.flush() == {"loss": 5.0, "miou": 0.0}


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_resume_with_another_length_says_what_every_schedule_does(tmp_path, caplog):
    with pytest.raises(Stopped):
        run(Linear(stop_at(5)), tmp_path, epochs=3)
    run(Linear(), tmp_path, resume=True, epochs=5)
    [line] = warnings_of(caplog)
    assert line == (
        "resume: 15 steps instead of 9, and every schedule is from here on that of the new length: rate goes from 0.778 to 0.8"
    )  # step 2 of 9, then step 3 of 15
    caplog.clear()
    run(Linear(), tmp_path, resume=True, epochs=6)
    assert warnings_of(caplog)[0].endswith("rate goes from 0.0667 to 0.167")  # step 14 of 15, the last, then step 15 of 18
    assert load_checkpoint(tmp_path / "checkpoints" / "last.pt")["planned_steps"] == 18


def test_resume_with_the_same_length_says_nothing_and_of_an_ended_run_that_nothing_is_left(tmp_path, caplog):
    with pytest.raises(Stopped):
        run(Linear(stop_at(5)), tmp_path)
    run(Linear(), tmp_path, resume=True)
    assert warnings_of(caplog) == []
    run(Linear(), tmp_path, resume=True)
    assert warnings_of(caplog) == ["resume: all 9 steps are done already, and nothing is left to do; more epochs go on from here"]


def test_a_score_that_is_no_number_is_said_and_keeps_no_best_checkpoint(tmp_path, caplog):
    run(Linear(scores=[float("nan"), 0.25]), tmp_path, epochs=2)
    assert warnings_of(caplog) == ["epoch 1: no validation pixel has a class, so that there is no mIoU and no best checkpoint"]
    assert load_checkpoint(tmp_path / "checkpoints" / "best.pt")["loop"]["best"] == 0.25
