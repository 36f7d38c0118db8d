"""Training with a teacher: what it adds to a step, with every option of the step, and teachers that cannot be taken."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import nas
from nas.config.jobs import ReportJob
from nas.config.train_settings import DistillSettings
from nas.data import build_dataset
from nas.distributed.fabric import make_fabric
from nas.errors import ConfigError
from nas.network.build import build_network
from nas.network.image_classifier import build_image_classifier
from nas.network.trained_network import trained_network
from nas.runs.checkpoint import load_checkpoint, save_weights
from nas.space.deployment import Deployment
from nas.space.design import design_of, load_design
from nas.space.genotype import Genotype, save_genotype
from nas.stages.report import report
from nas.training.train_setup import make_task
from nas.training.train_task import TrainTask
from search_spaces import SEARCH_SPACES, all_spaces
from search_spaces.fasterseg.config import FasterSegConfig
from search_spaces.fasterseg.deployed.branches import Branch, Layer, decided_choices
from tests.random_weights import as_if_trained
from tests.small_jobs import SIZE, STEPS_PER_EPOCH, assert_same_run, batch, overrides, random_genotype, rows, train_job

TOTAL = 2 * STEPS_PER_EPOCH
DEEP = Branch(32, (Layer("conv", 8, 4), Layer("conv_downup", 8, 4), Layer("conv", 16, 4), Layer("conv_downup", 32, 4)))
MIDDLE = Branch(16, (Layer("conv", 8, 4), Layer("conv", 8, 6), Layer("conv", 16, 4)))


@pytest.fixture(scope="module")
def genotype(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("genotype") / "genotype.yaml"
    random_genotype(path)
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """The folder of a finished training of another network."""
    folder = tmp_path_factory.mktemp("teacher")
    random_genotype(folder / "genotype.yaml", seed=1, init_channels=8)
    settings = {"train__epochs": 8, "train__loss": "cross_entropy", "train__lr": 0.1, "train__eval_every": 0}
    nas.train(train_job(folder / "genotype.yaml", folder / "run", **settings))
    return folder / "run"


def fasterseg_genotype(path: Path, fidelity: str = "corrected") -> Path:
    """A network with auxiliary heads."""
    config = FasterSegConfig(layers=4, fidelity=fidelity)
    choices = decided_choices((DEEP, MIDDLE), config, stem_width=4, head_width=4)
    save_genotype(path, Genotype("fasterseg", dataclasses.asdict(config), Deployment(SIZE, 3, 11), choices))
    return path


def task_of(genotype: Path, **changes) -> TrainTask:
    job = train_job(genotype, **changes)
    splits = {f"{split}_set": build_dataset(job.data, split) for split in ("train", "val")}
    return make_task(job, load_design(genotype, all_spaces()), all_spaces(), **splits, fabric=make_fabric(job.trainer))


def freeze_batch_norm(task: TrainTask) -> TrainTask:
    """Let batch norm use its running statistics, which do not depend on how images are grouped."""
    task.network.eval()
    task.model.train = lambda: task.model
    return task


def gradients(task: TrainTask) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in task.network.named_parameters()}


def wanted_of(teacher: Path, images: Tensor) -> Tensor:
    """The logits of the network in a folder, as `nas eval` has them."""
    genotype = nas.load_genotype(teacher)
    with torch.no_grad():
        return trained_network(design_of(genotype, all_spaces()), teacher / "weights.safetensors")[0](images)


def mean_divergence(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """T^2 times PyTorch's own divergence over the valid pixels."""
    wanted, got = ((logits / temperature).log_softmax(dim=1) for logits in (teacher, student))
    pixels = functional.kl_div(got, wanted, reduction="none", log_target=True).sum(dim=1)
    return temperature**2 * pixels[labels != 255].mean()


@pytest.mark.parametrize(("weight", "temperature"), [(1.0, 1.0), (0.3, 4.0), (0.0, 1.0)])
def test_the_loss_and_its_gradient_are_those_of_the_labels_and_the_weighted_divergence(genotype, teacher, weight, temperature):
    common = {"train__loss": "cross_entropy"}
    task = task_of(genotype, distill__teacher=str(teacher), distill__weight=weight, distill__temperature=temperature, **common)
    images, labels = batch()
    logits = task.network.train()(images)
    divergence = mean_divergence(logits, wanted_of(teacher, images), labels, temperature)
    expected = functional.cross_entropy(logits, labels, ignore_index=255) + weight * divergence
    expected.backward()
    by_hand = gradients(task)
    row, _ = task.step(images, labels, 0)
    assert row["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert row["distillation"] == pytest.approx(divergence.item(), rel=1e-5)
    for name, gradient in gradients(task).items():
        torch.testing.assert_close(gradient, by_hand[name], rtol=1e-3, atol=1e-6)
    assert "distillation" not in task_of(genotype, **common).step(images, labels, 0)[0]


def test_a_student_approaches_its_teacher(genotype, teacher):
    images, labels = batch()
    reached = {}
    for weight in (0.0, 20.0):
        task = task_of(genotype, distill__teacher=str(teacher), distill__weight=weight, train__lr=0.02, train__epochs=20)
        reached[weight] = [task.step(images, labels, step)[0]["distillation"] for step in range(25)]
    assert reached[20.0][0] == reached[0.0][0] > 0.1
    assert reached[20.0][-1] < 0.25 * reached[20.0][0]
    assert reached[20.0][-1] < 0.5 * reached[0.0][-1]


def test_the_teacher_stays_as_it_is_and_is_in_no_checkpoint(genotype, teacher, tmp_path):
    task = task_of(genotype, distill__teacher=str(teacher))
    before = {name: value.clone() for name, value in task.teacher.network.state_dict().items()}
    for step in range(3):
        task.step(*batch(), step)
    assert not task.teacher.network.training
    assert all(torch.equal(value, before[name]) for name, value in task.teacher.network.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in task.teacher.network.parameters())
    assert set(task.state()) == set(task_of(genotype).state())
    learnt = {id(parameter) for group in task.optimizer.param_groups for parameter in group["params"]}
    assert learnt == {id(parameter) for parameter in task.network.parameters()}


def test_initial_weights_are_the_same_with_a_teacher_and_without(genotype, teacher):
    one, other = (task_of(genotype, **changes).network.state_dict() for changes in ({"distill__teacher": str(teacher)}, {}))
    assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("count", [2, 4])
def test_accumulated_it_has_loss_and_gradient_of_one_large_batch_also_with_class_weights(genotype, teacher, count):
    common = {"distill__teacher": str(teacher), "distill__weight": 3.0, "train__loss": "cross_entropy"}
    common["train__class_weights"] = [0.0, *range(1, 11)]
    large = freeze_batch_norm(task_of(genotype, train__batch_size=4, **common))
    small = freeze_batch_norm(task_of(genotype, train__batch_size=4 // count, train__accumulate=count, **common))
    images, labels = batch(num=4)
    labels[:2, :-3] = 255  # almost without labels, and these all of the class that weighs nothing
    labels[:2, -3:] = 0
    (row, _), (other, _) = large.step(images, labels, 0), small.step(images, labels, 0)
    assert other["loss"] == pytest.approx(row["loss"], rel=1e-5)
    assert other["distillation"] == pytest.approx(row["distillation"], rel=1e-5)
    assert row["distillation"] == pytest.approx(
        float(mean_divergence(fresh_logits(genotype, images), wanted_of(teacher, images), labels, 1.0)), rel=1e-4
    )
    got = gradients(small)
    for name, gradient in gradients(large).items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=1e-5)


def fresh_logits(genotype: Path, images: Tensor) -> Tensor:
    """What the student says before its first step."""
    torch.manual_seed(0)
    with torch.no_grad():
        return build_network(load_design(genotype, all_spaces())).eval()(images)


def test_a_batch_without_a_label_gives_zero_divergence_and_zero_gradients(genotype, teacher):
    for changes in ({}, {"train__accumulate": 2, "train__batch_size": 1}):
        task = task_of(genotype, distill__teacher=str(teacher), **changes)
        images, labels = batch()
        row, _ = task.step(images, torch.full_like(labels, 255), 0)
        assert (row["loss"], row["distillation"]) == (0, 0)
        assert all(not gradient.any() for gradient in gradients(task).values())


def test_auxiliary_heads_learn_from_the_labels_alone_and_their_network_from_a_teacher_of_another_space(teacher, tmp_path):
    student = fasterseg_genotype(tmp_path / "student.yaml")
    images, labels = batch()
    plain = task_of(student)
    plain_row, _ = plain.step(images, labels, 0)
    task = task_of(student, distill__teacher=str(teacher), distill__weight=2.0)
    logits = task.network.train()(images)
    divergence = float(mean_divergence(logits.detach(), wanted_of(teacher, images), labels, 1.0))
    row, _ = task.step(images, labels, 0)
    assert row["distillation"] == pytest.approx(divergence, rel=1e-4)
    assert row["loss"] == pytest.approx(plain_row["loss"] + 2 * divergence, rel=1e-5)
    with_teacher, without = gradients(task), gradients(plain)
    for name, gradient in without.items():
        same = torch.allclose(with_teacher[name], gradient, rtol=1e-4, atol=1e-7)
        assert same == name.startswith(("heads16.", "heads32."))


@pytest.mark.parametrize("names", ["ours", "official"])
def test_a_network_with_auxiliary_heads_teaches_one_without_under_either_names(genotype, tmp_path, names):
    path = fasterseg_genotype(tmp_path / "teacher" / "genotype.yaml")
    network = as_if_trained(nas.build(nas.load_genotype(path)))
    keys = load_design(path, all_spaces()).space.official_keys(network.graph)
    renamed = {keys[name][0] if names == "official" else name: value for name, value in network.state_dict().items()}
    assert len(renamed) == len(network.state_dict())
    save_weights(tmp_path / "teacher" / "weights.safetensors", renamed)
    images, labels = batch()
    row, _ = task_of(genotype, distill__teacher=str(tmp_path / "teacher")).step(images, labels, 0)
    torch.manual_seed(0)
    with torch.no_grad():
        student = build_network(load_design(genotype, all_spaces())).train()(images)
        assert row["distillation"] == pytest.approx(float(mean_divergence(student, network(images), labels, 1.0)), rel=1e-4)


@pytest.mark.parametrize(("fidelity", "given", "divisor"), [("corrected", None, 1), ("official", None, 11), ("official", False, 1)])
def test_the_divergence_is_divided_by_classes_where_the_space_is_official_or_the_setting_says_so(
    teacher, tmp_path, fidelity, given, divisor
):
    student = fasterseg_genotype(tmp_path / "student.yaml", fidelity)
    images, labels = batch()
    plain = task_of(student)
    divergence = float(mean_divergence(plain.network.train()(images).detach(), wanted_of(teacher, images), labels, 1.0))
    task = task_of(student, distill__teacher=str(teacher), distill__divide_by_classes=given)
    assert task.step(images, labels, 0)[0]["distillation"] == pytest.approx(divergence / divisor, rel=1e-4)


def test_a_space_without_fidelity_is_divided_by_classes_when_asked(genotype, teacher):
    values = [
        task_of(genotype, distill__teacher=str(teacher), distill__divide_by_classes=given).step(*batch(), 0)[0]["distillation"]
        for given in (None, False, True)
    ]
    assert values[0] == values[1] == pytest.approx(11 * values[2], rel=1e-5)


@pytest.mark.usefixtures("bf16_on_cpu")
def test_low_precision_covers_the_teacher(genotype, teacher):
    task = task_of(genotype, distill__teacher=str(teacher), trainer__precision="bf16-mixed")
    inside = []
    for module in task.teacher.network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda *args: inside.append(args[2].dtype))
    row, _ = task.step(*batch(), 0)
    assert set(inside) == {torch.bfloat16}
    full, _ = task_of(genotype, distill__teacher=str(teacher)).step(*batch(), 0)
    assert row["distillation"] != full["distillation"]
    assert row["distillation"] == pytest.approx(full["distillation"], rel=0.05)


@pytest.mark.usefixtures("bf16_on_cpu")
def test_a_run_with_every_option_stopped_and_resumed_equals_one_never_stopped(genotype, teacher, tmp_path, monkeypatch):
    changes = {"train__ema": 0.9, "train__accumulate": 2, "train__batch_size": 1, "train__class_weights": "auto"}
    changes |= {"train__checkpoint_every": 2, "distill__teacher": str(teacher), "distill__temperature": 2.0}
    changes["trainer__precision"] = "bf16-mixed"
    nas.train(train_job(genotype, tmp_path / "whole", **changes))
    at, step = random.Random(5).randrange(2, TOTAL), TrainTask.step
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


def test_from_the_command_line_metrics_and_report_have_it_and_another_weight_is_refused_on_resume(
    run_nas, genotype, teacher, tmp_path
):
    job = train_job(genotype, "run", distill__teacher=str(teacher), distill__weight=0.5)
    assert run_nas("train", *overrides(job)).status == 0
    for split in ("step", "train"):
        assert all(row["distillation"] > 0 for row in rows(tmp_path / "run", split))
    assert len(rows(tmp_path / "run", "step")) == TOTAL
    means = [row["distillation"] for row in rows(tmp_path / "run", "step")][:STEPS_PER_EPOCH]
    assert rows(tmp_path / "run", "train")[0]["distillation"] == pytest.approx(sum(means) / STEPS_PER_EPOCH)
    assert report(ReportJob(run=str(tmp_path / "run")), all_spaces()).path.stat().st_size > 0
    outcome = run_nas("train", *overrides(job), "distill.weight=2", "resume=run")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "distill.weight (run: 0.5, now: 2.0)" in outcome.err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": 2.0}, "distill.weight: got 2.0 without a teacher; add distill.teacher=RUN, or leave distill.weight out"),
        ({"temperature": 2.0}, "distill.temperature: got 2.0 without a teacher; add distill.teacher=RUN"),
        ({"divide_by_classes": False}, "distill.divide_by_classes: got false without a teacher"),
        ({"teacher": "T", "weight": -1.0}, "distill.weight: got -1.0, expected at least 0"),
        ({"teacher": "T", "weight": math.nan}, "distill.weight: got nan, expected at least 0"),
        ({"teacher": "T", "temperature": 0.0}, "distill.temperature: got 0.0, expected a number above 0"),
        ({"teacher": "T", "temperature": math.inf}, "distill.temperature: got inf, expected a number above 0"),
    ],
)
def test_a_wrong_setting_says_what_to_do(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        DistillSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["distill.temperature=2"], "distill.temperature: got 2.0 without a teacher"),
        (["distill.teacher=T"], "distill.teacher: T: no such folder; give the folder of a finished nas train"),
        (
            ["distill.teacher=T", "train.task=classification"],
            "distill.teacher: got T with train.task=classification",
        ),
    ],
)
def test_a_wrong_setting_is_status_2_and_leaves_no_folder(run_nas, genotype, tmp_path, settings, message):
    outcome = run_nas("train", *overrides(train_job(genotype, "run")), *settings)
    assert (outcome.status, len(outcome.err_lines)) == (2, 1), outcome.err
    assert message in outcome.err
    assert not (tmp_path / "run").exists()


def folder_of(tmp_path: Path, kind: str) -> Path:
    """A folder that cannot teach."""
    folder = tmp_path / kind
    genotype = random_genotype(folder / "genotype.yaml", seed=2)
    if kind == "search":
        return folder
    if kind == "weights alone":
        (folder / "genotype.yaml").unlink()
    made = {
        "other classes": lambda: build_network(design_of(genotype, SEARCH_SPACES), 5),
        "whole images": lambda: build_image_classifier(design_of(genotype, SEARCH_SPACES), 11),
        "another network": lambda: build_network(design_of(random_genotype(tmp_path / "other.yaml", seed=3), SEARCH_SPACES)),
        "weights alone": lambda: build_network(design_of(genotype, SEARCH_SPACES)),
    }
    save_weights(folder / "weights.safetensors", made[kind]().state_dict())
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("search", "distill.teacher: {} has no weights.safetensors; give the folder of a finished nas train"),
        ("weights alone", "distill.teacher: {} has no genotype.yaml; give the folder of a finished nas train"),
        ("other classes", "distill.teacher: got a network of 5 classes in {}, expected 11 as in data=synthetic; give one that"),
        (
            "whole images",
            "distill.teacher: {}/weights.safetensors is of train.task=classification, which tells classes of whole images",
        ),
        ("another network", "distill.teacher: {}/weights.safetensors: got "),
    ],
)
def test_a_folder_that_cannot_teach_is_status_2_and_leaves_no_folder(run_nas, genotype, tmp_path, kind, message):
    folder = folder_of(tmp_path, kind)
    outcome = run_nas("train", *overrides(train_job(genotype, "run", distill__teacher=str(folder))))
    assert (outcome.status, len(outcome.err_lines)) == (2, 1), outcome.err
    assert message.format(folder) in outcome.err
    assert not (tmp_path / "run").exists()
