"""`nas search plan=true`: what is told of a search before it is launched, on made-up and on real probes."""

from __future__ import annotations

import dataclasses
import json
import mmap
import stat
from pathlib import Path

import pytest
import torch
from torch import nn

import nas
from nas.cli.probe_process import job_from_plain
from nas.devices.memory import available_bytes, left_in_cgroup, left_of_address_space, peak_bytes, stated_bytes
from nas.errors import ConfigError, NonFiniteLossError
from nas.probing import search_probe as probe
from nas.probing.search_probe import Probe, line_through, measure, run_probe
from nas.space.deployment import Deployment
from nas.stages import search_plan as planning
from nas.stages.search_plan import largest_batch, plan_search
from nas.supernet.passes import Pass
from nas.supernet.step_macs import macs_of_passes, pass_macs
from nas.supernet.supernet import Draw
from search_spaces import SEARCH_SPACES
from tests.small_jobs import SIZE, overrides, search_job, search_task

MIB = 2**20
BOTH = ("none", "all")
SECONDS = {("soft", "reference"): 4.0, ("soft", "fused"): 2.0, ("hard", "reference"): 5.0, ("hard", "fused"): 3.0}


def made_up(job, *, evaluates, available=8000 * MIB, per_image=100 * MIB, fixed=500 * MIB):
    """A machine on which everything is linear in the batch; sampled is ten times faster than the rest."""
    names = job.search.relaxation, job.search.execution
    size = job.search.batch_size
    peak = fixed + per_image * size
    room = peak <= 0.9 * available
    return Probe(
        batch=size,
        points=((2, fixed + 2 * per_image), (size if room else 4, peak if room else fixed + 4 * per_image)),
        available=available,
        peak=peak,
        measured=room,
        step_s=SECONDS.get(names, 0.2) * size,
        warmup_s=0.5 if job.search.warmup_epochs else None,
        evaluation_s=(3.0, 1.0) if evaluates else None,
    )


@pytest.fixture
def machine(monkeypatch):
    """Puts a made-up machine in the place of probes; returns what it was asked."""
    asked = []

    def put(**traits):
        def prober(job, *, evaluates):
            asked.append((job, evaluates))
            return made_up(job, evaluates=evaluates, **traits)

        monkeypatch.setattr(planning, "run_probe", prober)
        return asked

    return put


def planned(job):
    return plan_search(job, nas.build_space(job.space))


def test_every_relaxation_execution_and_checkpointing_is_probed_and_the_one_asked_for_comes_first(machine):
    asked = machine()
    report = planned(search_job(search__relaxation="hard"))
    assert [(row.relaxation, row.execution, row.checkpointing) for row in report.rows] == [
        (relaxation, execution, checkpointing)
        for relaxation in ("hard", "soft", "sampled")
        for execution in ("reference", "fused")
        for checkpointing in BOTH
    ]
    assert [(job.search.relaxation, job.search.execution) for job, _ in asked] == [(r.relaxation, r.execution) for r in report.rows]
    assert report.overrides == {"search.execution": "fused"}
    assert "recommended, the fastest that fits with search.relaxation=hard: search.execution=fused" in report.summary()


def test_times_add_up_steps_warm_up_evaluations_and_first_reading(machine):
    machine()
    job = search_job(search__epochs=5, search__warmup_epochs=2, search__eval_every=2, search__execution="fused", data__val=6)
    found = next(row.forecast for row in planned(job).rows if (row.relaxation, row.execution) == ("soft", "fused"))
    # 6 images in batches of 2: 3 steps an epoch; evaluated after epochs 2, 4 and the last; 6 images in 3 batches.
    assert found.epoch_s == 3 * 4.0
    assert found.evaluation_s == 3.0 + 2 * 1.0
    assert found.total_s == 2 * 3 * 0.5 + 3 * 3 * 4.0 + 3 * 5.0
    assert found.fits is True


def test_where_nothing_fits_the_largest_batch_that_does_is_forecast_and_no_other_relaxation(machine):
    machine(available=1000 * MIB)
    report = planned(search_job(search__batch_size=16))
    # 0.9 * 1000 = 500 + 100 n
    assert report.overrides == {"search.batch_size": "4", "search.execution": "reference"}
    assert all(row.forecast.fits is False for row in report.rows)
    assert report.summary()[-1].startswith("as asked for, nothing fits with search.relaxation=soft; by forecast this does: ")


def test_images_in_the_cache_count_into_the_memory(machine):
    machine()
    job = search_job(data__train=1000)
    cached, read = (
        next(iter(planned(dataclasses.replace(job, data=dataclasses.replace(job.data, cache=cache))).rows)).forecast.peak_bytes
        for cache in (True, False)
    )
    # 1000 + 2 images of 48x64 in 4 bytes a pixel; the probe has read up to 3 batches of 2 of them.
    assert cached - read == (1002 - 6) * 48 * 64 * 4


def test_where_not_even_one_image_fits_a_crop_is_forecast(machine):
    machine(available=1000 * MIB, fixed=700 * MIB, per_image=400 * MIB)
    report = planned(search_job(search__batch_size=2, data__size=[256, 512]))
    # (900 - 700) / 800 of the pixels: half of each side
    assert report.overrides == {"search.crop": "[128,256]", "search.execution": "reference"}


def test_a_killed_probe_does_not_fit_and_is_never_recommended(machine, monkeypatch):
    machine()
    right = planning.run_probe

    def prober(job, *, evaluates):
        if job.search.execution == "fused":
            return Probe(batch=2, ran_out=True, reason="ended by signal 9")
        return right(job, evaluates=evaluates)

    monkeypatch.setattr(planning, "run_probe", prober)
    report = planned(search_job())
    assert report.overrides == {"search.execution": "reference"}
    assert [row.cells()[-1] for row in report.rows if row.execution == "fused"] == ["does not fit"] * (3 * len(BOTH))
    assert "soft fused: ended by signal 9" in report.summary()


def test_noise_for_each_image_leaves_sampled_out_with_the_reason(machine):
    machine()
    report = planned(search_job(search__noise="image"))
    sampled = [row for row in report.rows if row.relaxation == "sampled"]
    assert all(row.forecast is None and "with noise for each image" in row.probe.reason for row in sampled)
    assert all(row.cells()[-1] == "not possible" for row in sampled)


def test_plan_prints_without_writing_and_writes_json_where_it_is_told(machine, run_nas):
    machine()
    job = search_job()
    outcome = run_nas("search", *overrides(job), "plan=true")
    assert outcome.status == 0
    assert "recommended, the fastest that fits with search.relaxation=soft: search.execution=fused" in outcome.out
    assert list(Path().iterdir()) == []
    assert run_nas("search", *overrides(job), "plan=true", "out=here").status == 0
    assert [path.name for path in Path("here").iterdir()] == ["plan.json"]
    content = json.loads(Path("here/plan.json").read_text())
    assert content["format_version"] == 1
    assert content["recommended"] == {"search.execution": "fused"}
    assert len(content["rows"]) == 6 * len(BOTH)
    again = run_nas("search", *overrides(job), "plan=true", "out=here")
    assert again.status == 2
    assert "the folder here is not empty" in again.err


@pytest.mark.parametrize("words", [["resume=run"], ["trainer.devices=2"], ["latency.table=nowhere/at-all"], ["search.crop=[9]"]])
def test_what_a_search_refuses_a_plan_refuses_before_any_probe(machine, run_nas, words):
    asked = machine()
    outcome = run_nas("search", *overrides(search_job()), "plan=true", *words)
    assert outcome.status == 2
    assert len(outcome.err_lines) <= 2
    assert asked == []


def test_counts_are_those_of_the_supernet(machine):
    machine()
    job = search_job(search__batch_size=3)
    task, totals = search_task(job), planned(job).totals
    assert totals.weights == sum(p.numel() for p in task.supernet.weight_parameters())
    assert totals.arch_parameters == sum(p.numel() for p in task.supernet.arch_parameters())
    assert totals.step_macs("soft") == 3 * 3 * sum(totals.macs["soft"].values())


def convolved(task, relaxation, seed):
    """Multiply-accumulates of the convolutions that really run for one image, by hooks."""
    total = []

    def count(conv, inputs, output):
        pixels = (inputs[0] if isinstance(conv, nn.ConvTranspose2d) else output)[0, 0].numel()  # a transposed one spreads its input
        total.append(conv.weight.numel() * pixels)

    convs = [module for module in task.supernet.network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    handles = [conv.register_forward_hook(count) for conv in convs]
    with torch.no_grad():
        task.supernet.eval()(torch.zeros(1, 3, *SIZE), Draw(relaxation, 1.0, torch.Generator().manual_seed(seed)))
    for handle in handles:
        handle.remove()
    return sum(total)


def test_macs_of_a_pass_are_those_of_the_convolutions_that_run():
    task = search_task(search_job(search__execution="reference"))
    graph = task.supernet.network.graph
    soft = macs_of_passes(task.space, graph, [Pass("default")], relaxation="soft")
    assert soft == {"default": convolved(task, "soft", 0)}
    # Decided, the same graph is the derived one, but for what is pruned there: nothing without none.
    decided = {choice.name: choice.options[0] for choice in task.space.choices()}
    each = [
        pass_macs(graph, task.space.trained_outputs, drawn=(), decided={**decided, choice.name: option})
        for choice in task.space.choices()[:1]
        for option in choice.options
    ]
    first = task.space.choices()[0].name
    mean = pass_macs(
        graph, task.space.trained_outputs, drawn={first}, decided={name: one for name, one in decided.items() if name != first}
    )
    assert mean == pytest.approx(sum(each) / len(each))


def test_macs_of_drawn_operations_are_the_mean_over_draws():
    task = search_task(search_job(search__relaxation="sampled"))
    (expected,) = macs_of_passes(task.space, task.supernet.network.graph, [Pass("default")], relaxation="sampled").values()
    draws = torch.tensor([float(convolved(task, "sampled", seed)) for seed in range(60)])
    assert abs(float(draws.mean()) - expected) < 4 * float(draws.std()) / 60**0.5


def test_forced_passes_count_what_they_hold():
    space = SEARCH_SPACES["fasterseg"].build(SEARCH_SPACES["fasterseg"].config())
    graph = space.graph(Deployment((64, 64), space.search_channels, 11))
    names = ("teacher", "student", "student:max", "student:min", "student:random")
    passes = [Pass(name.partition(":")[0], name.partition(":")[2] or None) for name in names]
    macs = macs_of_passes(space, graph, passes, relaxation="soft")
    assert list(macs) == list(names)
    assert macs["student:min"] < macs["student:random"] < macs["student:max"]
    assert macs["student:random"] == pytest.approx(macs["student"])  # widths are drawn in every relaxation


def test_a_line_through_two_batches():
    assert line_through(((2, 700), (4, 900))) == (500.0, 100.0)
    assert line_through(((2, 700),)) is None
    assert largest_batch(Probe(batch=16, points=((2, 700), (4, 900)), available=1000)) == 4
    assert largest_batch(Probe(batch=16, points=((2, 700), (4, 900)))) is None


@pytest.mark.parametrize(
    ("available", "ran", "measured"),
    [(100_000, [2, 16], True), (3000, [2, 4, 16], True), (2000, [2, 4], False), (None, [2, 16], True)],
)
def test_the_whole_batch_runs_only_where_smaller_ones_say_that_it_has_room(monkeypatch, available, ran, measured):
    sizes = []

    def run_size(job, space, found, size, splits, *, evaluates, fabric):
        sizes.append(size)
        peak = 500 + 100 * size
        whole = size == found.batch
        return dataclasses.replace(found, points=(*found.points, (size, peak)), peak=peak, measured=whole, step_s=0.1 * size)

    monkeypatch.setattr(probe, "_run_size", run_size)
    monkeypatch.setattr(probe, "available_bytes", lambda device: available)
    monkeypatch.setattr(probe, "peak_bytes", lambda device: 0)
    job = search_job(search__batch_size=16)
    found = measure(job, nas.build_space(job.space), evaluates=True)
    assert sizes == ran
    assert found.measured is measured
    assert (found.peak, found.step_s) == (500 + 1600, pytest.approx(1.6))


def test_a_job_passes_through_json_unchanged():
    job = search_job(search__relaxation="sampled", search__crop=[32, 48], latency__weight=0.3, space__num_cells=4, seed=5)
    assert job_from_plain(json.loads(json.dumps(dataclasses.asdict(job)))) == job


def test_a_real_probe_measures_steps_and_an_evaluation():
    found = run_probe(search_job(search__batch_size=4, search__execution="fused", search__warmup_epochs=1), evaluates=True)
    assert [size for size, _ in found.points] in ([2, 4], [4])
    assert found.measured
    assert found.reason == ""
    assert 0 < found.step_s < 60
    assert 0 < found.warmup_s < 60
    assert 0 < found.evaluation_s[1] < found.evaluation_s[0]
    assert 100 * MIB < found.peak < 4000 * MIB
    assert found.peak >= found.points[-1][1]


def test_a_probe_that_is_killed_ran_out_and_one_that_fails_says_why(tmp_path, monkeypatch):
    program = tmp_path / "python"
    monkeypatch.setattr(probe.sys, "executable", str(program))
    for text, ran_out, reason in (
        ("kill -9 $$", True, "ended by signal 9"),
        ("echo broken >&2; exit 3", False, "a probe ended with status 3: broken"),
        ("exit 0", False, "a probe ended with status 0: it said nothing"),
        ("echo MemoryError >&2; exit 1", True, "a probe ended with status 1: MemoryError"),
        (
            "echo 'ImportError: failed to map segment from shared object' >&2; exit 1",
            True,
            "a probe ended with status 1: ImportError",
        ),
    ):
        program.write_text(f"#!/bin/sh\ncat > /dev/null\n{text}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        found = run_probe(search_job(), evaluates=False)
        assert (found.ran_out, found.measured, found.batch) == (ran_out, False, search_job().search.batch_size)
        assert found.reason.startswith(reason)
    program.unlink()
    found = run_probe(search_job(), evaluates=False)
    assert found.ran_out
    assert found.reason.startswith("no process could be started: ")


def test_a_plan_whose_probes_all_fail_is_status_1_and_a_line(run_nas, monkeypatch):
    monkeypatch.setattr(planning, "run_probe", lambda job, **_: Probe(batch=job.search.batch_size, reason="it broke"))
    outcome = run_nas("search", *overrides(search_job()), "plan=true")
    assert outcome.status == 1
    assert outcome.err == "nas search: none of 12 probes could take a step; soft: it broke\n"


def test_a_relaxation_that_could_not_be_measured_is_not_said_to_want_memory(machine, monkeypatch):
    machine()
    prober = planning.run_probe

    def of_soft(job, *, evaluates):
        failed = Probe(batch=job.search.batch_size, reason="it broke")
        return failed if job.search.relaxation == "soft" else prober(job, evaluates=evaluates)

    monkeypatch.setattr(planning, "run_probe", of_soft)
    lines = planned(search_job()).summary()
    assert lines[-1] == "nothing could be measured with search.relaxation=soft, for the reasons above"
    assert "soft fused: it broke" in lines


def test_losses_that_are_not_finite_are_the_reason_of_a_probe(monkeypatch):
    def diverged(*_, **__):
        raise NonFiniteLossError("got loss nan\nadvice")

    monkeypatch.setattr(probe, "_run_size", diverged)
    found = measure(search_job(), nas.build_space(search_job().space), evaluates=True)
    assert (found.reason, found.ran_out) == ("got loss nan advice", False)


def test_without_a_terminal_a_plan_tells_in_lines_how_far_it_is(run_nas, machine):
    machine()
    outcome = run_nas("search", *overrides(search_job()), "plan=true")
    assert outcome.status == 0
    assert "probing 0/12, ETA -:--:--" in outcome.out + outcome.err


def test_a_search_that_is_only_planned_is_refused_as_a_search(tmp_path):
    with pytest.raises(ConfigError, match=r"plan: got true, .* nas.plan"):
        nas.search(search_job(tmp_path / "run", plan=True))
    assert not (tmp_path / "run").exists()


def test_sizes_that_the_kernel_states():
    status = "Name:\tpython\nVmHWM:\t  663504 kB\nVmSize:\t 1000 kB\nThreads:\t1\n"
    assert stated_bytes(status, "VmHWM") == 663504 * 1024
    assert stated_bytes(status, "Threads") is None
    assert stated_bytes("", "VmHWM") is None
    assert left_in_cgroup("2000\n", "500\n") == 1500
    assert left_in_cgroup("100\n", "500\n") == 0
    assert left_in_cgroup("max\n", "500\n") is None
    assert left_in_cgroup(None, "500\n") is None
    assert left_of_address_space(2 * MIB, status) == 2 * MIB - 1000 * 1024
    assert left_of_address_space(-1, status) is None


def test_memory_of_this_process_is_more_than_what_it_holds():
    cpu = torch.device("cpu")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
    before = peak_bytes(cpu)
    with mmap.mmap(-1, 40 * MIB) as held:  # pages of its own, never some that were freed before
        held[::1024] = bytes(len(held[::1024]))
        assert peak_bytes(cpu) >= before + 0.9 * len(held)
    available = available_bytes(cpu)
    assert available is None or available > 0
