"""Control of the latency weight: dual ascent on targets, FasterSeg's band, several tables, and what a search makes of them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

import nas
from nas.config.settings import LatencySettings
from nas.cost import read_table, save_table
from nas.cost.calibration import Calibration, Quality
from nas.cost.repair import UnreachableError, derive_within, least_costs
from nas.errors import ConfigError
from nas.runs.checkpoint import load_checkpoint
from nas.space.genotype import Genotype
from nas.space.weights import uniform as uniform_weights
from nas.supernet.latency_control import Multiplier, ascend, keep_in_band
from nas.supernet.search_task import SearchTask
from tests.small_jobs import assert_same_run, batch, made_up_table, rows, search_job, search_task

UNIFORM_MS = 0.0635
"""About the latency of uniform parameters by the made-up table."""


@pytest.fixture
def tables(tmp_path: Path) -> tuple[str, str]:
    """Two tables for the small space: the made-up one, and one of another device where everything takes 3 ms more MACs count."""
    first = made_up_table(tmp_path / "a.json")
    device = dataclasses.replace(first.device, name="other-board")
    slow = {
        key: dataclasses.replace(e, median_ms=3 * e.median_ms, p10_ms=3 * e.p10_ms, p90_ms=3 * e.p90_ms)
        for key, e in first.entries.items()
    }
    save_table(dataclasses.replace(first, device=device, entries=slow), tmp_path / "b.json")
    return str(tmp_path / "a.json"), str(tmp_path / "b.json")


def simulated(*, damping: float, steps: int = 4000, lr: float = 0.05) -> list[float]:
    """Ratios r = E/T of a system that follows the gradient of (r - 2)^2 / 2 + weight * r; at r = 1 the weight is 1."""
    state, ratio, seen = Multiplier(0.0, 0.0), 2.0, []
    for _ in range(steps):
        ratio -= 0.002 * (ratio - 2 + state.weight)
        state = ascend(state, ratio, lr=lr, damping=damping, most=10.0)
        seen.append(ratio)
    return seen


def test_dual_ascent_finds_the_multiplier_of_the_constraint_and_damping_shortens_its_swings() -> None:
    damped, plain = simulated(damping=10.0), simulated(damping=0.0)
    assert damped[-1] == pytest.approx(1, abs=0.01)
    assert 1 - min(damped) < 0.3 * (1 - min(plain))


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0, 1.7, 50.0])
def test_the_multiplier_stays_within_its_bounds_and_moves_towards_the_target(ratio: float) -> None:
    state = Multiplier(0.2, 0.2)
    for _ in range(500):
        after = ascend(state, ratio, lr=0.1, damping=1.0, most=3.0)
        assert 0 <= after.value <= 3
        assert 0 <= after.weight <= 3
        assert (after.value - state.value) * (ratio - 1) >= 0
        state = after
    assert state.value == {True: 3.0, False: 0.0}[ratio > 1] if ratio != 1 else state.value == 0.2


@pytest.mark.parametrize(("fps", "weight"), [(100, 0.2), (155, 0.2), (156, 0.1), (174, 0.1), (175, 0.05), (400, 0.05)])
def test_the_band_halves_above_doubles_below_and_rests_between(fps: float, weight: float) -> None:
    state = keep_in_band(Multiplier(0.1, 0.1), [fps], low=155, high=175, least=0.01, most=10)
    assert state.weight == pytest.approx(weight)
    assert keep_in_band(Multiplier(0.1, 0.1), [1], low=155, high=175, least=0.01, most=0.15).weight == 0.15
    assert keep_in_band(Multiplier(0.1, 0.1), [1e4], low=155, high=175, least=0.08, most=10).weight == 0.08


REFUSED = {
    "two controls": ({"target_ms": 5, "band_fps": [10, 20]}, r"latency\.band_fps: got \[10,20\] with target_ms=5"),
    "unit": ({"target_ms": 5, "unit": "ms"}, r"latency\.unit: got ms with target_ms"),
    "target of nothing": ({"target_ms": 0}, r"latency\.target_ms: got 0"),
    "target of text": ({"target_ms": "fast"}, r"latency\.target_ms: got 'fast'"),
    "only null": ({"table": ["a", "b"], "target_ms": [None, None]}, "expected milliseconds above 0"),
    "one target for two": ({"table": ["a", "b"], "target_ms": 5}, "a target for each of 2 tables"),
    "weights": ({"table": ["a", "b"], "weight": [1, 2, 3]}, "one for each of 2 tables"),
    "weight of text": ({"weight": "much"}, r"latency\.weight: got 'much', expected at least 0"),
    "band upside down": ({"band_fps": [20, 10]}, r"latency\.band_fps: got \[20,10\]"),
    "band of two": ({"table": ["a", "b"], "band_fps": [10, 20]}, "got 2 tables, expected one"),
    "band of zero": ({"band_fps": [10, 20], "weight": 0}, "doubles and halves it"),
    "no name": ({"table": 5}, r"latency\.table: got 5"),
    "no table": ({"table": []}, r"latency\.table: got \[\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_do_not_go_together_are_refused(case: str) -> None:
    settings, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message):
        LatencySettings(**{"table": "t", **settings})


@pytest.mark.parametrize(
    ("latency", "message"),
    [
        ({"latency__table": "macs", "latency__target_ms": 5}, "latency.target_ms: got 5 for macs, which is in MMACs, not in ms"),
        ({"latency__table": "macs", "latency__band_fps": [10, 20]}, "macs is in MMACs, not in ms"),
        ({"latency__table": "none", "latency__target_ms": 5}, "got 5 with latency.table=none"),
        ({"latency__table": ["macs", "none"]}, "leave none out of the list"),
        ({"latency__table": ["macs", "macs"]}, "expected different tables"),
    ],
)
def test_tables_that_give_a_control_no_meaning_are_refused(latency: dict, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        search_task(search_job(**latency))
    assert message in str(refused.value)


def test_a_target_out_of_reach_is_refused_before_training_with_the_least_that_can_be_reached(tables, run_nas, tmp_path) -> None:
    task = search_task(search_job(latency__table=tables[0]))
    costs = task.costs
    (least,) = least_costs(task.space, dataclasses.replace(costs, targets=(1.0,)).limits())
    with pytest.raises(UnreachableError) as refused:
        search_task(search_job(latency__table=tables[0], latency__target_ms=0.9 * least))
    assert refused.value.least == pytest.approx((least,))
    search_task(search_job(latency__table=tables[0], latency__target_ms=1.01 * least))


def test_the_loss_has_weight_times_latency_over_target_and_the_weight_moves_only_after_the_warm_up(tables) -> None:
    target = 0.8 * UNIFORM_MS
    task = search_task(
        search_job(latency__table=tables[0], latency__target_ms=target, search__warmup_epochs=1, search__arch_lr=0.1)
    )
    for step in range(5):
        before = task.control.terms[0]
        row, _ = task.step(*batch(step), step)
        assert row["multiplier"] == before.weight
        assert row["loss"] == pytest.approx(row["cross_entropy"] + before.weight * row["sampled_latency"] / target, rel=1e-5)
        expected = task.epoch_scalars()["expected_latency"]
        value = before.value if step < 3 else before.value + 0.1 * (expected / target - 1)
        weight = before.weight if step < 3 else value + expected / target - 1
        assert (task.control.terms[0].value, task.control.terms[0].weight) == pytest.approx((value, weight))
    assert task.epoch_scalars()["latency_target"] == target


def test_each_table_has_a_term_with_its_weight_or_target_and_scalars_of_its_own(tables) -> None:
    job = search_job(latency__table=[*tables, "macs"], latency__weight=[0.3, 0.1, 0.2], latency__target_ms=[None, 0.15, None])
    task = search_task(job)
    uniform = [float(latency(uniform_weights(task.space.choices()))) for latency in task.supernet.latencies]
    assert uniform[1] == pytest.approx(3 * uniform[0])
    row, _ = task.step(*batch(), 0)
    sampled = [row["sampled_latency"], row["sampled_latency_2"], row["sampled_latency_3"]]
    term = 0.3 * sampled[0] / uniform[0] + 0.1 * sampled[1] / 0.15 + 0.2 * sampled[2] / uniform[2]
    assert row["loss"] == pytest.approx(row["cross_entropy"] + term, rel=1e-5)
    assert sampled[1] == pytest.approx(3 * sampled[0], rel=1e-6)
    assert ("multiplier" in row, "multiplier_2" in row, "multiplier_3" in row) == (False, True, False)
    scalars = task.epoch_scalars()
    assert scalars["expected_latency_2"] == pytest.approx(3 * scalars["expected_latency"])
    assert scalars["latency_target_2"] == 0.15


def test_the_band_looks_at_the_derived_network_after_each_epoch_but_those_of_the_warm_up(tables) -> None:
    job = search_job(latency__table=tables[0], latency__band_fps=[1e-3, 2e-3], search__warmup_epochs=1, search__epochs=3)
    task = search_task(job)
    weights = []
    for step in range(9):
        task.step(*batch(step), step)
        weights.append(task.control.terms[0].weight)
    assert weights == [0.1] * 5 + [0.05] * 3 + [0.025]


class StoppedError(Exception):
    """Stands for a sudden death of the process."""


def test_a_controlled_search_goes_on_bitwise_where_it_stopped(tables, tmp_path) -> None:
    settings = {"latency__table": list(tables), "latency__target_ms": [None, 0.16], "search__checkpoint_every": 2}
    settings |= {"search__relaxation": "sampled", "search__arch_lr": 0.1, "search__epochs": 1, "search__recalibrate": 1}
    nas.search(search_job(tmp_path / "whole", **settings))
    step = SearchTask.step

    def dying(self, images, labels, number):
        if number == 2:
            raise StoppedError
        return step(self, images, labels, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SearchTask, "step", dying)
        with pytest.raises(StoppedError):
            nas.search(search_job(tmp_path / "resumed", **settings))
    nas.search(search_job(None, resume=str(tmp_path / "resumed"), **settings))
    assert_same_run(tmp_path / "whole", tmp_path / "resumed")
    _, term = load_checkpoint(tmp_path / "whole" / "checkpoints" / "last.pt")["latency_control"]
    assert term["weight"] != 0.1
    assert rows(tmp_path / "whole", "train")[-1]["multiplier_2"] == term["weight"]


def test_the_state_of_the_band_is_part_of_the_tasks_state(tables) -> None:
    job = search_job(latency__table=tables[0], latency__band_fps=[1e-3, 2e-3])
    task, other = search_task(job), search_task(job)
    for step in range(3):
        task.step(*batch(step), step)
    other.load_state(task.state())
    assert other.control.terms == task.control.terms == [Multiplier(0.05, 0.05)]


def test_a_calibration_counts_in_the_search_as_it_does_in_predictions(tables, tmp_path) -> None:
    table = read_table(Path(tables[0]))
    quality = Quality(bias=0, mape=0, rmse_ms=0, within_5=1, within_10=1, spearman=1, kendall=1, inside_bar=1)
    calibration = Calibration(
        space="lgcnet",
        input=(48, 64),
        init_channels=4,
        overhead_ms=0.02,
        gap_ms=0.001,
        compute_scale=1.5,
        memory_scale=0.5,
        bar=0.1,
        coverage=0.9,
        fitted=1,
        judged=1,
        held_out=quality,
        noise_floor=0.0,
        measured_at="2026-01-01T00:00:00+00:00",
    )
    save_table(dataclasses.replace(table, calibrations=(calibration,)), tmp_path / "calibrated.json")
    job = search_job(latency__table=str(tmp_path / "calibrated.json"), latency__target_ms=0.15)
    task = search_task(job)
    choices = task.derived.first().choices
    genotype = Genotype("lgcnet", dataclasses.asdict(job.space), task.deploy, choices)
    ms = nas.predict(genotype, nas.load_table(job.latency.table)).ms
    assert task.derived.latencies() == pytest.approx([ms])
    assert nas.predict(genotype, table).ms != pytest.approx(ms, rel=0.1)
    limit = dataclasses.replace(task.costs, targets=(ms * (1 - 1e-6),))
    repaired = derive_within(task.space, task.derived.guided_logits(), limit.limits())["default"]
    assert nas.predict(dataclasses.replace(genotype, choices=repaired.choices), nas.load_table(job.latency.table)).ms < ms


def test_a_search_ends_within_its_targets_and_says_so_for_every_table(tables, tmp_path, run_nas) -> None:
    targets = [0.046, 0.135]
    job = search_job(tmp_path / "run", latency__table=list(tables), latency__target_ms=targets, search__max_steps=2)
    result = nas.search(job)
    genotype = nas.load_genotype(result.out)
    predicted = [nas.predict(genotype, nas.load_table(name)).ms for name in tables]
    assert all(ms <= target for ms, target in zip(predicted, targets, strict=True))
    facts = genotype.provenance
    assert [facts["expected_latency"], facts["expected_latency_2"]] == pytest.approx(predicted, rel=1e-9)
    assert [facts["target_latency"], facts["target_latency_2"]] == targets
    assert (facts["table"], facts["table_2"]) == tuple(read_table(Path(name)).identifier for name in tables)
    lines = [line for line in result.summary() if "predicted latency" in line]
    for ms, target, line in zip(predicted, targets, lines, strict=True):
        assert f"{ms:.3f} ms" in line
        assert f"target {target:g} ms" in line
    assert result.repairs
    assert json.loads((result.out / "predict.json").read_text())["latency"] == pytest.approx(predicted[0])
    (row,) = rows(result.out, "val_argmax")
    assert [row["latency"], row["latency_2"]] == pytest.approx(predicted)


def test_dual_ascent_brings_the_expected_latency_of_a_search_to_its_target(tables) -> None:
    target = 0.75 * UNIFORM_MS
    job = search_job(
        latency__table=tables[0],
        latency__target_ms=target,
        search__arch_lr=0.05,
        search__relaxation="sampled",
        search__epochs=60,
        space__communication="none",
    )
    task = search_task(job)
    images = batch()
    start = task.epoch_scalars()["expected_latency"] / target
    for step in range(80):
        task.step(*images, step)
    assert start > 1.25
    assert task.epoch_scalars()["expected_latency"] / target == pytest.approx(1, abs=0.06)


def test_macs_with_a_weight_and_a_measured_table_with_a_target_go_together_on_the_command_line(tables, run_nas) -> None:
    small = ["space.num_cells=3", "space.reduction_cells=[1,2]", "space.fused_cells=[0,1,2]", "space.head_channels=8"]
    data = [
        "data.size=[48,64]",
        "data.train=4",
        "data.val=2",
        "search.max_steps=1",
        "search.batch_size=2",
        "search.init_channels=4",
    ]
    deploy = ["deploy.init_channels=4", "search.relaxation=sampled", "trainer.accelerator=cpu", "trainer.threads=1"]
    common = ["search", *small, *data, *deploy, "out=run", f"latency.table=[{tables[0]},macs]"]
    outcome = run_nas(*common, "latency.target_ms=[0.01,null]", "latency.weight=[0.1,0.05]")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    stated = float(outcome.err.split("the least reachable is ")[1].split()[0])
    assert 0.01 < stated < UNIFORM_MS
    assert not Path("run").exists()
    outcome = run_nas(*common, f"latency.target_ms=[{stated},null]", "latency.weight=[0.1,0.05]")
    assert (outcome.status, outcome.err) == (0, "")
    assert "MMACs" in outcome.out
    assert f"target {stated:g} ms" in outcome.out
    assert nas.predict(nas.load_genotype("run"), nas.load_table(tables[0])).ms <= stated


def test_nan_logits_end_in_the_loss_not_in_the_repair(tables) -> None:
    task = search_task(search_job(latency__table=tables[0], latency__target_ms=0.05))
    with torch.no_grad():
        next(iter(task.supernet.arch_parameters())).fill_(math.nan)
    with pytest.raises(ValueError, match="not finite"):
        task.derived.first()


def test_tables_with_times_of_two_kinds_are_told_before_a_search(tables, caplog) -> None:
    search_task(search_job(latency__table=list(tables)))
    assert "two kinds" not in caplog.text
    for path, clock in zip(tables, ("wall", "gpu-time"), strict=True):
        table = read_table(Path(path))
        save_table(dataclasses.replace(table, protocol=dataclasses.replace(table.protocol, clock=clock)), Path(path))
    search_task(search_job(latency__table=list(tables)))
    assert caplog.text.count("hold times of two kinds (clock wall against gpu-time)") == 1
