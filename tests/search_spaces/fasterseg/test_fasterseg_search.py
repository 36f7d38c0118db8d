"""A step of FasterSeg's search: which passes it has, what it moves, and its loss and gradients against the plain supernet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from plain_step import PlainSearch, ohem
from plain_supernet import PlainSupernet
from same_search import plain_name, plain_of, same_widths

import nas
from nas.config.jobs import SearchJob
from nas.config.settings import DeploySettings, LatencySettings, SearchSettings
from nas.data import build_dataset
from nas.errors import ConfigError
from nas.supernet.passes import Pass, passes_of
from nas.supernet.search_task import SearchTask
from search_spaces.fasterseg.config import FasterSegConfig
from tests.small_jobs import TRAINER, TrainerSettings, assert_same_state, batch, data_config, space_config

CLASSES = 11
TRAINED = ("teacher", "student", "student:max", "student:min")


def task_of(*, precision: str = "64-true", fidelity: str = "corrected", layers: int = 4, **search: Any) -> SearchTask:
    """A search of a small lattice on random images, in float64."""
    space = FasterSegConfig(layers=layers, filters=2, widths=[6, 9, 12], student_width=6, fidelity=fidelity)
    settings = {"batch_size": 2, "level": "bilevel", "loss": "ohem", "tau_end": 1.0, "grad_clip": 0.0, "recalibrate": 0}
    job = SearchJob(
        space=space,
        data=data_config(train=4),
        search=SearchSettings(**{**settings, "epochs": 4, "weight_decay": 5e-4, "arch_weight_decay": 0.0, **search}),
        latency=LatencySettings(table="none"),
        deploy=DeploySettings(),
        trainer=TrainerSettings(**TRAINER),
    )
    torch.manual_seed(0)
    splits = {f"{split}_set": build_dataset(job.data, split) for split in ("train", "val")}
    return SearchTask(job, nas.build_space(space), **splits, fabric=Fabric(accelerator="cpu", precision=precision))


@pytest.fixture
def in_float64() -> Iterator[None]:
    """Fabric gives outputs back in the default precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def recorded(task: SearchTask, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passes that run from here on, as `search.passes` states them."""
    ran: list[str] = []
    sample = task.supernet.sample

    def seen(draw, **others):
        ran.append(draw.architecture if draw.mode is None else f"{draw.architecture}:{draw.mode}")
        return sample(draw, **others)

    monkeypatch.setattr(task.supernet, "sample", seen)
    return ran


def images_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = batch()
    return images.double(), labels


@pytest.mark.parametrize(
    ("fidelity", "warmup"),
    [
        ("corrected", ("teacher:max", "student:min", "student:random", "teacher:random")),
        ("official", ("teacher:max", "teacher:min", "teacher:random", "teacher:random")),
    ],
)
def test_a_step_runs_the_four_passes_on_each_batch(fidelity, warmup, monkeypatch):
    task = task_of(fidelity=fidelity, warmup_epochs=1, layers=8 if fidelity == "official" else 3)
    ran = recorded(task, monkeypatch)
    task.step(*images_and_labels(), 0)
    assert tuple(ran) == warmup
    ran.clear()
    task.step(*images_and_labels(), task.warmup_steps)
    assert tuple(ran) == TRAINED + TRAINED  # the held-out batch, then the training batch


def test_the_passes_of_a_step_draw_different_widths_and_the_held_out_batch_others():
    task = task_of()
    drawn = [
        task.supernet.sample(draw).drawn
        for offset in (0, 1000)
        for draw in task.draws.of_step(0, offset=offset)
        if draw.architecture == "student" and draw.mode is None
    ]
    assert drawn[0] != drawn[1]
    warmup = task_of(warmup_epochs=1).draws.of_step(0)
    student, teacher = (task.supernet.sample(draw).drawn for draw in warmup[2:])
    inner = [name for name in student if name.startswith("cells")]
    assert [student[name] for name in inner] != [teacher[name] for name in inner]


@pytest.mark.parametrize(("fidelity", "trained"), [("corrected", {"student", "teacher"}), ("official", {"teacher"})])
def test_the_warm_up_trains_the_students_stem_and_heads_as_corrected_only(fidelity, trained):
    task = task_of(fidelity=fidelity, warmup_epochs=1, layers=8 if fidelity == "official" else 3)
    before = {name: tensor.detach().clone() for name, tensor in task.supernet.named_parameters()}
    task.step(*images_and_labels(), 0)
    moved = {name for name, tensor in task.supernet.named_parameters() if not torch.equal(tensor, before[name])}
    for name in ("student", "teacher"):
        own = {key for key in before if f".sets.{name}." in key}
        assert len(own) > 40
        assert (own & moved) == (own if name in trained else set())
    assert not any(name.startswith("architectures") for name in moved)
    assert {key for key in before if key.endswith("ops.conv.conv.weight")} <= moved


def plain_search(task: SearchTask) -> PlainSearch:
    return PlainSearch(plain_of(task.supernet, filters=2, classes=CLASSES))


def passes_at(task: SearchTask, plain: PlainSupernet, step: int) -> list[tuple[str, dict]]:
    return [(draw.architecture, same_widths(draw, plain)) for draw in task.draws.of_step(step)]


@pytest.mark.usefixtures("in_float64")
def test_loss_and_gradients_of_a_step_are_those_of_one_backward_over_the_sum_of_passes_and_outputs():
    task = task_of(level="single", weight_lr=0.0, weight_lr_end=0.0, arch_lr=0.0)
    with torch.no_grad():
        for logits in task.supernet.arch_parameters():
            logits.normal_(generator=torch.Generator().manual_seed(3))
    search = plain_search(task)
    images, labels = images_and_labels()
    row, confusion = task.step(images, labels, 0)
    loss = search.loss(images, labels, passes_at(task, search.plain, 0))
    assert row["loss"] == row["cross_entropy"] == pytest.approx(float(loss.detach()), rel=1e-12)
    loss.backward()
    parameters = dict(search.plain.named_parameters())
    for name, parameter in task.supernet.named_parameters():
        expected = parameters[plain_name(name, search.plain)].grad
        assert (parameter.grad is None) == (expected is None), name
        if expected is not None:
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-8, atol=1e-9, msg=name)
        assert expected is not None or ".bn." in name  # of the batch norms only those of drawn widths
    assert all(float(logits.grad.abs().max()) > 0 for logits in task.supernet.arch_parameters())
    buffers = dict(search.plain.named_buffers())
    for name, tensor in task.supernet.named_buffers():  # four passes, one after the other
        torch.testing.assert_close(tensor, buffers[plain_name(name, search.plain)], rtol=1e-9, atol=1e-9)
    assert int(confusion.sum()) == int((labels[:, ::8, ::8] != 255).sum())


@pytest.mark.usefixtures("in_float64")
def test_the_loss_of_an_output_is_ohem_on_every_eighth_pixel_of_the_labels():
    task = task_of(level="single", weight_lr=0.0, weight_lr_end=0.0, arch_lr=0.0, passes=["student"])
    images, labels = images_and_labels()
    plain = plain_of(task.supernet, filters=2, classes=CLASSES)
    (name, widths), *rest = passes_at(task, plain, 0)
    assert (name, rest) == ("student", [])
    total = 0.0
    for scores in plain(images, "student", widths).values():
        assert scores.shape == (2, CLASSES, 6, 8)
        total += float(ohem(scores, labels[:, ::8, ::8], 2 * 6 * 8 // 16).detach())
    assert task.step(images, labels, 0)[0]["loss"] == pytest.approx(total, rel=1e-12)


def test_ohem_of_the_plain_step_keeps_the_hard_pixels():
    p = torch.tensor([0.9, 0.2, 0.8, 0.75, 0.5, 0.6], dtype=torch.float64)
    scores = torch.stack([p.log(), (1 - p).log()])[None, :, None]
    labels = torch.tensor([[[0, 0, 0, 0, 255, 0]]])
    hard = [0.2, 0.6]  # at or below 0.7, without the ignored one
    assert float(ohem(scores, labels, 1)) == pytest.approx(-sum(torch.tensor(hard).double().log()).item() / 2)
    assert float(ohem(scores, labels, 4)) == pytest.approx(-torch.tensor([0.2, 0.6, 0.75, 0.8]).double().log().mean().item())
    assert float(ohem(scores, labels, 6)) == pytest.approx(-torch.tensor([0.2, 0.6, 0.75, 0.8, 0.9]).double().log().mean().item())


@pytest.mark.usefixtures("in_float64")
def test_a_bilevel_step_is_the_official_architecture_step_and_then_the_weight_step():
    """Adam on the held-out batch, SGD on the training batch, gradients clipped to 5; parameters and statistics after both."""
    task = task_of(weight_lr=0.02, arch_lr=3e-4, grad_clip=5.0)
    search = plain_search(task)
    images, labels = images_and_labels()
    held_images, held_labels = task.held_out.batch(0)
    held_draws = task.draws.of_step(0, offset=2**31)
    held_passes = [(draw.architecture, same_widths(draw, search.plain)) for draw in held_draws]
    expected = [search.architecture_step(held_images.double(), held_labels, held_passes)]
    row, _ = task.step(images, labels, 0)
    moved = [p for p in task.supernet.alpha_parameters() if float((p.detach() - 1e-3).abs().max()) > 1e-4]
    assert len(moved) == len(list(task.supernet.alpha_parameters()))
    expected.append(search.weight_step(images, labels, passes_at(task, search.plain, 0)))
    assert [row["holdout_loss"], row["loss"]] == pytest.approx(expected, rel=1e-10)
    state = search.plain.state_dict()
    for name, tensor in task.supernet.state_dict().items():
        torch.testing.assert_close(tensor, state[plain_name(name, search.plain)], rtol=1e-7, atol=1e-8, msg=name)


def test_a_search_that_is_taken_up_again_equals_one_that_was_never_stopped():
    settings = {"precision": "32-true", "warmup_epochs": 1, "grad_clip": 5.0}
    whole = task_of(**settings)
    stopped_at = whole.warmup_steps + 1
    assert stopped_at == 2
    states = {}
    for step in range(4):
        if step == stopped_at:
            states["stopped"] = clone(whole.state())
        whole.step(*batch(step), step)
    torch.manual_seed(99)
    resumed = task_of(**settings)
    resumed.load_state(states["stopped"])
    for step in range(stopped_at, 4):
        resumed.step(*batch(step), step)
    for state in (end := [whole.state(), resumed.state()]):
        state["provenance"].pop("commit", None)
    assert_same_state(*end)
    assert len(end[0]["arch_optimizer"]["state"]) == len(list(whole.supernet.alpha_parameters()))


def clone(state: Any) -> Any:
    """Nested states with tensors of their own."""
    if isinstance(state, torch.Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: clone(value) for key, value in state.items()}
    return [clone(value) for value in state] if isinstance(state, list) else state


SPACE = nas.build_space(FasterSegConfig(layers=3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["pupil"],
            "got 'pupil', expected one of student, teacher, each alone or as SET:MODE with a MODE of max, min, random",
        ),
        (["student", "teacher:widest"], "search.passes: got 'teacher:widest', expected one of student, teacher"),
        (["student", "teacher:"], "search.passes: got 'teacher:', expected one of"),
        (["teacher", "student:max"], "got [teacher,student:max], expected student without a mode once"),
        (["student", "student"], "got [student,student], expected student without a mode once"),
        ([], "search.passes: got no passes, expected one or more"),
    ],
)
def test_passes_that_make_no_search_are_refused(given, message):
    with pytest.raises(ConfigError) as refused:
        passes_of(SearchSettings(passes=given), SPACE)
    assert message in str(refused.value)


def test_warm_up_passes_may_leave_the_student_out_but_name_known_ones():
    warmup, usual = passes_of(SearchSettings(warmup_passes=["teacher:min"]), SPACE)
    assert warmup == (Pass("teacher", "min"),)
    assert usual == tuple(Pass(*stated.split(":")) for stated in TRAINED)
    assert passes_of(SearchSettings(passes=["student"]), SPACE) == ((Pass("student"),),) * 2
    with pytest.raises(ConfigError, match=r"search\.warmup_passes: got 'teacher:mean'"):
        passes_of(SearchSettings(warmup_passes=["teacher:mean"]), SPACE)


def test_a_space_without_modes_takes_none():
    with pytest.raises(ConfigError, match=r"search\.passes: got 'default:max', expected one of default$"):
        passes_of(SearchSettings(passes=["default", "default:max"]), nas.build_space(space_config()))
