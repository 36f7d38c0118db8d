"""`nas profile plan`: what would be measured, and for how long, on a simulated device."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.config.measuring_jobs import ProfileJob
from nas.config.settings import DeploySettings
from nas.devices.this_machine import DeviceInfo
from nas.errors import ConfigError, TableError
from nas.measuring.effort import Effort
from nas.measuring.reference_operation import choose_reference
from nas.measuring.runners import in_process
from nas.measuring.table_filling import journal_path
from nas.measuring.wanted_operations import wanted_by
from nas.ops import OpSpec, is_free
from nas.reports.text_table import duration
from nas.space.deployment import Deployment
from nas.space.design import design_of
from nas.space.genotype import Genotype
from nas.space.search_space import SearchSpace
from nas.stages.profile_plan import PlanResult, evenly_spaced, forecast, plan
from nas.worker.rounds import num_calls
from search_spaces import SEARCH_SPACES
from tests.simulated_device import PowerCutError, SimulatedDevice, conv, profile_specs
from tests.small_jobs import space_config

DEVICE = DeviceInfo(name="simulated")
DEPLOYMENT = Deployment((48, 64), 4, 11)
OUT = Path("mine.json")


def space() -> SearchSpace:
    return SEARCH_SPACES["lgcnet"].build(space_config())


def job(**changes: Any) -> ProfileJob:
    return ProfileJob(
        **{"space": space_config(), "deploy": DeploySettings(input=[48, 64], init_channels=4), "out": "mine.json", **changes}
    )


def wanted() -> list[OpSpec]:
    """Every operation of every option of the supernet's graph that is deployed, as an independent loop sees it."""
    graph = space().graph(DEPLOYMENT)
    return sorted({spec for node in graph.deployed().nodes for spec in node.specs.values() if not is_free(spec)})


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedDevice:
    monkeypatch.chdir(tmp_path)
    simulated = SimulatedDevice(dict.fromkeys(wanted(), 2.0), journal_path(OUT))
    monkeypatch.setattr(in_process, "BACKENDS", {"torch-eager": lambda runtime, *, accelerator: simulated})
    monkeypatch.setattr(in_process, "identify", lambda accelerator, *, name: DEVICE)
    return simulated


def test_the_plan_counts_by_kind_what_any_network_can_need_and_writes_nothing(device: SimulatedDevice) -> None:
    result = plan(job(), space())
    specs = wanted()
    assert list(result.specs) == list(result.missing) == specs
    assert result.by_kind == dict(Counter(spec.kind for spec in specs))
    assert {"argmax", "classifier", "conv_bn_relu"} <= set(result.by_kind)
    lines = result.summary()
    assert lines[0].startswith(
        f"lgcnet at 48x64, 4 initial channels, 11 classes: {len(specs)} operations that any network can need: "
    )
    assert f"{result.by_kind['relu_conv_bn']} relu_conv_bn" in lines[0]
    assert lines[1] == f"mine.json (simulated/torch-eager-fp32-b1-t1): holds 0 of them, {len(specs)} to measure"
    assert list(Path().iterdir()) == []
    assert device.runs


def test_the_plan_of_a_genotype_is_that_of_its_network_at_the_size_and_classes_asked_for(device: SimulatedDevice) -> None:
    choices = space().random_choices(torch.Generator().manual_seed(0))
    genotype = Genotype("lgcnet", asdict(space_config()), Deployment((32, 32), 4, 3), choices, {})
    design = design_of(genotype, SEARCH_SPACES)
    result = plan(job(genotype="mine.yaml", num_classes=11), design)
    network = space().graph(DEPLOYMENT, choices)
    assert list(result.specs) == sorted({spec for spec in network.specs() if not is_free(spec)})
    assert len(result.specs) < len(wanted())
    assert result.summary()[0].startswith("mine.yaml at 48x64, 4 initial channels, 11 classes: ")
    assert "operations that the network needs" in result.summary()[0]
    own = wanted_by(job(genotype="mine.yaml", deploy=DeploySettings()), design)
    assert own.deployment == Deployment((32, 32), 4, 3)
    assert device.runs


def test_the_default_target_is_named_but_no_folder_is_made(device: SimulatedDevice) -> None:
    del device
    result = plan(job(out=None), space())
    assert result.path == Path("latency_tables") / "simulated" / "torch-eager-fp32-b1-t1.json"
    assert list(Path().iterdir()) == []


def test_the_plan_tells_what_the_table_and_a_stopped_run_hold(device: SimulatedDevice) -> None:
    specs = wanted()
    profile_specs(specs[:5], device, device=DEVICE, path=OUT)
    device.fail_at = len(device.runs) + 40
    with pytest.raises(PowerCutError):
        profile_specs(specs[:15], device, device=DEVICE, path=OUT)
    device.fail_at = len(device.runs) + 10**9
    before = {path: path.read_bytes() for path in Path().iterdir()}
    result = plan(job(), space())
    assert list(result.missing) == specs[5:]
    assert f"holds 5 of them, {len(specs) - 5} to measure" in result.summary()[1]
    assert result.journaled > 0
    assert any(f"has left {result.journaled} samples in {journal_path(OUT)}" in line for line in result.summary())
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_when_everything_is_there_nothing_is_run(device: SimulatedDevice) -> None:
    profile_specs(wanted(), device, device=DEVICE, path=OUT)
    runs = len(device.runs)
    result = plan(job(), space())
    assert len(device.runs) == runs
    assert result.forecast is None
    assert result.summary()[-1] == "nothing to measure"


def test_what_profile_would_refuse_the_plan_refuses(device: SimulatedDevice) -> None:
    with pytest.raises(ConfigError, match=r"rounds: got 40 with max_rounds=30"):
        plan(job(rounds=40), space())
    with pytest.raises(ConfigError, match=r"give deploy\.input="):
        plan(job(deploy=DeploySettings()), space())
    profile_specs(wanted()[:2], device, device=DEVICE, path=OUT)
    with pytest.raises(TableError, match=r"protocol\.ci is 0\.02 there and 0\.05 now"):
        plan(job(ci=0.05), space())
    OUT.write_text(json.dumps({**json.loads(OUT.read_text()), "format_version": 1}))
    with pytest.raises(TableError, match="expected 2"):
        plan(job(), space())


def test_the_forecast_brackets_what_the_measurement_then_takes(tmp_path: Path) -> None:
    times = {conv(c): 0.3 * 1.2**c for c in range(1, 31)}
    path = tmp_path / "table.json"
    effort = Effort(rounds=6, max_rounds=12)
    predicted = forecast(times, SimulatedDevice(times, journal_path(path)), effort=effort, most_probed=10)
    assert predicted.probed == 10
    taken = {}
    for rounds in (6, 12):
        device = SimulatedDevice(times, journal_path(path))
        profile_specs(times, device, device=DEVICE, path=path, effort=Effort(rounds=rounds, max_rounds=rounds))
        taken[rounds] = sum(calls * times[spec] for spec, calls in device.runs[2 * (len(times) + 1) :]) / 1e3
        path.unlink()
    assert predicted.low_s == pytest.approx(taken[6], rel=0.1)
    assert predicted.high_s == pytest.approx(taken[12], rel=0.1)


def test_the_forecast_of_few_operations_runs_each_twice_and_the_reference() -> None:
    times = {conv(c): float(c) for c in range(1, 8)}
    device = SimulatedDevice(times, Path("none"))
    predicted = forecast(times, device, effort=Effort(rounds=1, max_rounds=3))
    assert predicted.probed == 7
    assert Counter(spec for spec, calls in device.runs) == Counter({**dict.fromkeys(times, 2), choose_reference(times): 4})
    assert {calls for _, calls in device.runs} == {1}
    samples = sum((1 + num_calls(ms)) * ms for ms in times.values())
    reference = 2 * (1 + num_calls(4.0)) * 4.0
    assert predicted.high_s - predicted.low_s == pytest.approx(2 * (samples + reference) / 1e3)


def test_probes_are_spread_over_all_sizes() -> None:
    items = [conv(c) for c in range(1, 101)]
    assert evenly_spaced(items, 4) == [conv(13), conv(38), conv(63), conv(88)]
    assert evenly_spaced(items[:3], 4) == items[:3]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (59.5, "1 min 0 s"), (60.0, "1 min 0 s"), (3599.0, "59 min 59 s"), (3600.0, "1 h 0 min")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_summary_states_the_forecast_as_a_range(device: SimulatedDevice) -> None:
    result: PlanResult = plan(job(rounds=2, max_rounds=5), space())
    assert result.forecast is not None
    assert device.runs
    line = next(line for line in result.summary() if line.startswith("forecast"))
    assert line.startswith(f"forecast: {duration(result.forecast.low_s)} to {duration(result.forecast.high_s)} (2 to 5 rounds), ")
    assert f"from running {result.forecast.probed} of the operations twice" in line
