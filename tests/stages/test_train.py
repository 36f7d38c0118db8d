"""Training of a derived network: from scratch and from weights, losses, schedules, and weights that do not fit."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

import nas
from nas.data import build_dataset
from nas.data.batches.file_handles import BESIDE
from nas.data.synthetic import SyntheticDataset
from nas.distributed.fabric import make_fabric
from nas.errors import CheckpointError, ConfigError, NonFiniteLossError
from nas.losses import LOSSES
from nas.network.build import build_network
from nas.runs.checkpoint import load_checkpoint, load_weights, save_weights
from nas.space.design import load_design
from nas.space.genotype import save_genotype
from nas.training.train_setup import make_task as make_train_task
from search_spaces import SEARCH_SPACES
from tests.small_jobs import STEPS_PER_EPOCH, allow_open_files, batch, overrides, random_genotype, rows, train_job

TOTAL = 2 * STEPS_PER_EPOCH


@pytest.fixture
def genotype(tmp_path):
    path = tmp_path / "genotype.yaml"
    random_genotype(path)
    return path


def make_task(genotype, **changes):
    job = train_job(genotype, **changes)
    splits = {f"{split}_set": build_dataset(job.data, split) for split in ("train", "val")}
    return make_train_task(job, load_design(genotype, SEARCH_SPACES), SEARCH_SPACES, **splits, fabric=make_fabric(job.trainer))


@pytest.mark.parametrize("loss", LOSSES)
def test_training_writes_weights_that_load_into_the_network_strictly(genotype, tmp_path, loss):
    result = nas.train(train_job(genotype, tmp_path / "run", train__loss=loss))
    network = nas.build(nas.load_genotype(result.out))
    weights = load_weights(result.out / "weights.safetensors")
    network.load_state_dict(weights, strict=True)
    assert result.parameters == sum(p.numel() for p in network.parameters())
    state = load_checkpoint(result.out / "checkpoints" / "last.pt")["network"]
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[name], weights[name]) for name in weights)
    given, stated = nas.load_genotype(genotype), nas.load_genotype(result.out)
    assert dataclasses.replace(stated, provenance=given.provenance) == given
    assert rows(result.out, "val")[-1]["miou"] == result.scores["miou"]
    assert [row["epoch"] for row in rows(result.out, "train")] == [0, 1]
    for name in ("config.yaml", "metrics.jsonl", "done.json", "checkpoints/best.pt"):
        assert (result.out / name).exists()
    assert f"next: nas eval run={result.out}" in result.summary()


def test_losses_differ_in_what_they_weigh(genotype):
    values = {loss: make_task(genotype, train__loss=loss).step(*batch(), 0)[0]["loss"] for loss in ("cross_entropy", "ohem")}
    logits = make_task(genotype).network.train()(batch()[0]).detach()
    labels = batch()[1]
    picked = -torch.log_softmax(logits.double(), dim=1).gather(1, labels.where(labels != 255, 0)[:, None])[:, 0][labels != 255]
    assert values["cross_entropy"] == pytest.approx(float(picked.mean()), rel=1e-4)
    hard = picked[picked >= -math.log(0.7)]
    assert values["ohem"] == pytest.approx(float(hard.mean()), rel=1e-4)


def test_learning_rate_is_poly_from_its_start_towards_zero(genotype, tmp_path):
    nas.train(train_job(genotype, tmp_path / "run", train__lr=0.2, train__power=0.9))
    rates = [row["lr"] for row in rows(tmp_path / "run", "step")]
    assert rates == [pytest.approx(0.2 * (1 - step / TOTAL) ** 0.9) for step in range(TOTAL)]
    assert rates[0] == 0.2


def test_loss_falls_by_a_wide_margin_on_one_image(genotype):
    task = make_task(genotype, train__lr=0.1, train__epochs=1000, train__loss="cross_entropy", train__weight_decay=0.0)
    image, label = task.objective.val_set.load(0)
    images = torch.from_numpy(image.astype("float32")).permute(2, 0, 1)[None] / 128 - 1
    labels = torch.from_numpy(label.astype("int64"))[None]
    losses = [task.step(images, labels, step)[0]["loss"] for step in range(40)]
    assert losses[0] > 1.5
    assert min(losses[-3:]) < 0.5 * losses[0]


def test_training_from_weights_starts_at_them_and_otherwise_anew(genotype, tmp_path):
    torch.manual_seed(9)
    network = build_network(load_design(genotype, SEARCH_SPACES))
    save_weights(tmp_path / "given.safetensors", network.state_dict())
    weights = network.state_dict()
    still = {"train__lr": 1e-12, "train__weight_decay": 0.0, "train__max_steps": 1}
    nas.train(train_job(genotype, tmp_path / "from", weights=str(tmp_path / "given.safetensors"), **still))
    nas.train(train_job(genotype, tmp_path / "scratch", **still))
    named = [name for name, _ in network.named_parameters()]
    after, scratch = (load_weights(tmp_path / run / "weights.safetensors") for run in ("from", "scratch"))
    for name in named:
        torch.testing.assert_close(after[name], weights[name], rtol=0, atol=1e-6)
    assert any((scratch[name] - weights[name]).abs().max() > 0.01 for name in named)


def spoil(weights, kind):
    """Weights that do not fit, and what the message must name."""
    name = sorted(name for name in weights if name.endswith("weight"))[0]
    if kind == "missing":
        return {key: value for key, value in weights.items() if key != name}, f"missing ['{name}']"
    if kind == "left over":
        return {**weights, "bogus.weight": torch.zeros(3)}, "left over ['bogus.weight']"
    shape = [*weights[name].shape, 2]
    return {**weights, name: torch.zeros(shape)}, f"{name} has shape {shape}, expected {list(weights[name].shape)}"


@pytest.mark.parametrize("kind", ["missing", "left over", "misshaped"])
def test_weights_that_do_not_fit_are_status_2_and_leave_no_folder(run_nas, genotype, tmp_path, kind):
    network = build_network(load_design(genotype, SEARCH_SPACES))
    wrong, message = spoil(network.state_dict(), kind)
    save_weights(tmp_path / "wrong.safetensors", wrong)
    outcome = run_nas("train", *overrides(train_job(genotype, "run", weights="wrong.safetensors")))
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert outcome.err.startswith("nas train: wrong.safetensors: ")
    assert message in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"weights": "nowhere.safetensors"}, CheckpointError, "nowhere.safetensors: no such file"),
        ({"train__loss": "hinge"}, ConfigError, "train.loss: got 'hinge', expected one of cross_entropy, ohem"),
    ],
)
def test_wrong_settings_are_named(genotype, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        nas.train(train_job(genotype, tmp_path / "run", **changes))


def test_file_that_is_no_weights_is_refused(genotype, tmp_path):
    with pytest.raises(CheckpointError, match=r"genotype\.yaml: damaged or no safetensors file"):
        nas.train(train_job(genotype, tmp_path / "run", weights=str(genotype)))


def test_non_empty_out_is_status_2_and_stays_as_it_was(run_nas, genotype, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    outcome = run_nas("train", *overrides(train_job(genotype, "full")))
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "the folder full is not empty" in outcome.err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["note.txt"]


def test_same_seed_gives_the_same_training_and_another_seed_another(genotype, tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        nas.train(train_job(genotype, tmp_path / name, seed=seed))
    one, same, other = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "same", "other"))
    assert one == same != other
    assert rows(tmp_path / "one") == rows(tmp_path / "same") != rows(tmp_path / "other")


def test_gradients_are_clipped_only_when_asked(genotype):
    norms = {}
    for clip in (0.0, 0.01):
        task = make_task(genotype, train__grad_clip=clip)
        task.step(*batch(), 0)
        norms[clip] = math.sqrt(sum(float(p.grad.double().square().sum()) for p in task.network.parameters()))
    assert norms[0.0] > 0.1
    assert norms[0.01] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.usefixtures("bf16_on_cpu")
def test_training_in_mixed_precision_gives_finite_losses_and_full_weights(genotype, tmp_path):
    nas.train(train_job(genotype, tmp_path / "run", train__max_steps=2, trainer__precision="bf16-mixed"))
    assert [math.isfinite(row["loss"]) for row in rows(tmp_path / "run", "step")] == [True, True]
    weights = load_weights(tmp_path / "run" / "weights.safetensors")
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}
    losses = [make_task(genotype, trainer__precision=p).step(*batch(), 0)[0]["loss"] for p in ("bf16-mixed", "32-true")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_non_finite_loss_moves_no_weight(genotype):
    task = make_task(genotype)
    images, labels = batch()
    task.step(images, labels, 0)
    before = [p.detach().clone() for p in task.network.parameters()]
    with pytest.raises(NonFiniteLossError, match="got loss nan"):
        task.step(images * math.nan, labels, 1)
    assert all(torch.equal(old, new) for old, new in zip(before, task.network.parameters(), strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_all_void_batch_gives_zero_loss_and_zero_gradients(genotype, loss):
    task = make_task(genotype, train__loss=loss)
    images, labels = batch()
    row, matrix = task.step(images, torch.full_like(labels, 255), 0)
    assert row["loss"] == 0
    assert int(matrix.sum()) == 0
    assert all(not p.grad.any() for p in task.network.parameters())
    assert task.step(images, labels, 1)[0]["loss"] > 0


def test_non_finite_loss_on_the_command_line_is_status_1_naming_the_image(run_nas, genotype, tmp_path, monkeypatch):
    monkeypatch.setitem(LOSSES, "cross_entropy", lambda logits, label: logits.sum() * math.nan)
    job = train_job(genotype, "run", train__loss="cross_entropy", data__train=1, train__batch_size=1)
    outcome = run_nas("train", *overrides(job))
    assert outcome.status == 1
    name = SyntheticDataset(job.data, "train").name(0)
    assert outcome.err_lines[0].startswith(
        f"nas train: got loss nan at step 0 of epoch 1 on the batch {name}; no weight was moved by it;"
    )
    assert outcome.err_lines[1:] == [
        "start again with a smaller train.lr (now 0.01), or train.grad_clip=1 (now 0, no clipping), in another out=; "
        "there is no checkpoint to resume from"
    ]
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "nonfinite.pt")["loop"]["step"] == 0


def test_network_is_built_for_the_classes_of_the_data(tmp_path):
    path = tmp_path / "genotype.yaml"
    genotype = random_genotype(path)
    deploy = dataclasses.replace(genotype.deploy, num_classes=5)
    save_genotype(path, dataclasses.replace(genotype, deploy=deploy))
    nas.train(train_job(path, tmp_path / "run", train__max_steps=1))
    assert load_weights(tmp_path / "run" / "weights.safetensors")["classifier.conv.conv.weight"].shape[0] == 11


def test_too_few_open_files_for_the_workers_are_refused_before_anything_is_written(genotype, tmp_path, monkeypatch):
    allow_open_files(monkeypatch, BESIDE)
    with pytest.raises(ConfigError, match="data.workers: got 1, which need .* open files"):
        nas.train(train_job(genotype, tmp_path / "run", data__workers=1))
    assert not (tmp_path / "run").exists()
