"""Validation and calibration of a table on a simulated device whose networks obey a known law."""

from __future__ import annotations

import csv
import json
import re
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import nas
from nas.config.measuring_jobs import ValidateJob
from nas.config.settings import DeploySettings, LatencySettings
from nas.cost.calibrated import CalibratedTable, multiplies
from nas.cost.genotype_latency import predict
from nas.cost.latency_table import LatencyTable, read_table, save_table
from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import identify
from nas.errors import ConfigError, FailedCheckError, TableError
from nas.measuring.runners import in_process
from nas.ops import is_free, macs
from nas.space.deployment import Deployment
from nas.space.design import design_of
from nas.stages import profile_validate as validating
from nas.stages.profile_validate import ValidateResult, validate
from search_spaces import SEARCH_SPACES
from tests.cost.simulated_table import table_of
from tests.cost.small_tables import calibration

SIZE, CHANNELS = (64, 96), 16
LAW = {"overhead": 1.5, "compute": 1.1, "memory": 1.6, "gap": 0.0}


def true_ms(spec) -> float:
    """What the simulated device takes for an operation alone."""
    moved = spec.in_channels * spec.height * spec.width + spec.out_channels * spec.out_height * spec.out_width
    return 0.01 + macs(spec) / 2e7 + moved / 1e6


def network_ms(graph) -> float:
    """What it takes for a network, by the law."""
    specs = [spec for _, spec in graph.operations() if not is_free(spec)]
    scales = [LAW["compute"] if multiplies(spec) else LAW["memory"] for spec in specs]
    return LAW["overhead"] + sum(scale * true_ms(spec) + LAW["gap"] for scale, spec in zip(scales, specs, strict=True))


class Simulated:
    """A backend that obeys the law, with noise that is a function of the number of the call alone."""

    version = "1.0"
    clock, cuda_graphs = "wall", None

    def __init__(self, runtime: RuntimeName, *, accelerator: str = "cpu", noise: float = 0.01) -> None:
        self.runtime, self.noise = runtime, noise
        self.generator = np.random.default_rng(0)

    @contextmanager
    def measuring(self):
        yield

    def prepare_network(self, network, *, size):
        exact = network_ms(network.graph)
        return lambda calls: exact * float(np.exp(self.noise * self.generator.standard_normal()))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a complete table of the simulated device for a small space."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(in_process, "BACKENDS", {"torch-eager": Simulated})
    save_table(simulated_table(), tmp_path / "table.json")
    return tmp_path


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ValidateResult]:
    """Such a folder once its table is calibrated, to be read only, and what was found."""
    folder = tmp_path_factory.mktemp("calibrated")
    save_table(simulated_table(), folder / "table.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(in_process, "BACKENDS", {"torch-eager": Simulated})
        return folder, validate(the_job(), the_space())


def the_space(name: str = "squeezenas_small"):
    entry = SEARCH_SPACES[name]
    return entry.build(entry.config())


def simulated_table(**changes) -> LatencyTable:
    specs = the_space().plan(Deployment(SIZE, CHANNELS, 11))
    return table_of({spec: true_ms(spec) for spec in specs}, device=identify().name, version="1.0", **changes)


def the_job(**changes) -> ValidateJob:
    settings = {"latency": LatencySettings(table="table.json"), "samples": 40, "rounds": 5, "out": "found"}
    deploy = DeploySettings(input=list(SIZE))
    return ValidateJob(**{"space": the_space().config, "deploy": deploy, **settings, **changes})


def test_what_the_plain_sum_lacks_is_found_and_judged_on_other_networks(calibrated):
    _, result = calibrated
    assert result.plain_held_out.bias < -0.1  # the plain sum lacks overhead and what scales up
    assert result.held_out.mape < 0.01
    assert result.held_out.within_5 == 1.0
    assert result.held_out.spearman > 0.99
    assert 0.001 < result.floor < 0.02
    sums = [sample.terms.total_ms for sample in result.samples]
    assert sums == sorted(sums)
    assert max(sums) > 2 * min(sums)
    assert sum(sample.judges for sample in result.samples) == 20
    for sample in result.samples:
        assert sum(ms for _, ms in sample.kinds.values()) == pytest.approx(sample.terms.total_ms)


def test_files_tell_everything_and_the_table_keeps_the_calibration(calibrated):
    desk, result = calibrated
    report = json.loads((desk / "found" / "validate.json").read_text())
    assert report["held_out"]["mape"] == result.held_out.mape
    rows = list(csv.DictReader((desk / "found" / "networks.csv").open()))
    assert len(rows) == 40
    assert (desk / "found" / "scatter.png").read_bytes().startswith(b"\x89PNG")
    for row in rows:
        space = the_space()
        graph = space.graph(Deployment(SIZE, CHANNELS, 11), json.loads(row["choices"]))
        assert float(row["measured_ms"]) == pytest.approx(network_ms(graph), rel=0.03)
    after = read_table(desk / "table.json")
    assert dict(after.entries) == dict(simulated_table().entries)
    (calibration,) = after.calibrations
    assert calibration.key == ("squeezenas_small", SIZE, CHANNELS)
    assert (calibration.fitted, calibration.judged) == (20, 20)
    text = "\n".join(result.summary())
    assert "20 held out" in text
    assert f"{result.held_out.mape:.1%}" in text


def test_predictions_of_a_calibrated_table_are_near_the_truth_and_have_its_bar(calibrated, monkeypatch):
    desk, fitted = calibrated[0], calibrated[1].fitted
    monkeypatch.chdir(desk)
    table, space = read_table(desk / "table.json"), the_space()
    for seed in range(10):
        genotype = random_genotype(space, seed)
        latency = predict(design_of(genotype, SEARCH_SPACES), table)
        graph = space.graph(Deployment(SIZE, CHANNELS, 11), genotype.choices)
        assert latency.ms == pytest.approx(network_ms(graph), rel=0.01)
        assert latency.ms == pytest.approx(sum(latency.by_part.values()))
        assert (latency.low_ms, latency.high_ms) == pytest.approx((latency.ms * (1 - fitted.bar), latency.ms * (1 + fitted.bar)))
    other = predict(design_of(random_genotype(space, 0, size=(32, 48)), SEARCH_SPACES), full_table((32, 48)))
    assert (other.low_ms, other.high_ms) == (None, None)


def random_genotype(space, seed: int, size=SIZE):
    import dataclasses

    import torch

    from nas.space.genotype import Genotype

    choices = space.random_choices(torch.Generator().manual_seed(seed))
    return Genotype(space.config.name, dataclasses.asdict(space.config), Deployment(size, CHANNELS, 11), choices, {})


def full_table(size) -> LatencyTable:
    specs = the_space().plan(Deployment(size, CHANNELS, 11))
    calibrations = read_table(Path("table.json")).calibrations
    return table_of({s: true_ms(s) for s in specs}, device=identify().name, version="1.0", calibrations=calibrations)


def test_without_calibrate_the_table_stays_as_it_is(desk):
    before = (desk / "table.json").read_bytes()
    result = validate(the_job(calibrate=False), the_space())
    assert (desk / "table.json").read_bytes() == before
    assert result.table_path is None


def disturbed(monkeypatch, *, noise: float = 0.001, factors: dict[int, float] | None = None) -> None:
    """A device with noise, on which every network takes the factor of its number modulo 4 longer than the law says."""

    class Disturbed(Simulated):
        def prepare_network(self, network, *, size):
            self.number = getattr(self, "number", -1) + 1
            run, factor = super().prepare_network(network, size=size), (factors or {}).get(self.number % 4, 1.0)
            return lambda calls: factor * run(calls)

    monkeypatch.setattr(in_process, "BACKENDS", {"torch-eager": partial(Disturbed, noise=noise)})


FITTED_SLOW, JUDGED_SCATTER = {0: 1.9, 2: 1.9}, {1: 0.8, 3: 1.2}


@pytest.mark.parametrize(
    ("disturbance", "reason"),
    [
        ({"factors": FITTED_SLOW}, r"its error on the networks held out is \d+\.\d%, and that of the plain sum \d+\.\d%"),
        ({"noise": 0.3}, r"two timings of the same network are \d+\.\d% apart, expected at most 5%"),
        ({"factors": JUDGED_SCATTER}, r"its error bar holds 0% of the networks held out, expected about 90%"),
    ],
)
def test_a_bad_calibration_is_refused_and_the_good_one_stays(run_nas, desk, monkeypatch, disturbance, reason):
    good = calibration("squeezenas_small", channels=CHANNELS, input=SIZE)
    save_table(simulated_table(calibrations=(good,)), desk / "table.json")
    before = (desk / "table.json").read_bytes()
    disturbed(monkeypatch, **disturbance)
    size = f"deploy.input=[{SIZE[0]},{SIZE[1]}]"
    words = ["space=squeezenas_small", size, "latency.table=table.json", "samples=20", "rounds=4", "out=found"]
    outcome = run_nas("profile", "validate", *words)
    assert (outcome.status, len(outcome.err_lines)) == (1, 1)
    kept = f"table.json keeps its calibration of {good.measured_at}"
    assert re.search(f"^nas profile validate: {re.escape(kept)}: .*{reason}.*Measure again while", outcome.err)
    assert re.search(f"not fit to calibrate the table: .*{reason}", outcome.out)
    assert "wrote the calibration" not in outcome.out
    assert re.search(reason, " ".join(json.loads((desk / "found" / "validate.json").read_text())["objections"]))
    assert (desk / "table.json").read_bytes() == before


def test_without_calibrate_a_bad_calibration_is_no_failure_but_said(desk, monkeypatch):
    disturbed(monkeypatch, factors=FITTED_SLOW)
    result = validate(the_job(calibrate=False, samples=20), the_space())
    assert "not fit to calibrate the table: its error on the networks held out" in "\n".join(result.summary())


def test_a_refused_calibration_of_a_shipped_table_leaves_no_copy(desk, monkeypatch):
    monkeypatch.setattr(validating, "_is_shipped", lambda path: True)
    disturbed(monkeypatch, factors=FITTED_SLOW)
    with pytest.raises(FailedCheckError, match="is not calibrated"):
        validate(the_job(), the_space())
    assert not Path("latency_tables").exists()


def test_a_shipped_table_is_calibrated_in_a_copy(desk, monkeypatch):
    monkeypatch.setattr(validating, "_is_shipped", lambda path: True)
    result = validate(the_job(), the_space())
    assert result.table_path == Path("latency_tables") / identify().name / "torch-eager-fp32-b1-t1.json"
    assert read_table(result.table_path).calibrations
    assert not read_table(desk / "table.json").calibrations


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"latency": LatencySettings(table="macs")}, ConfigError, "latency.table: got macs"),
        ({"deploy": DeploySettings()}, ConfigError, "deploy.input: got null"),
        (
            {"device": "jetson-nano"},
            TableError,
            r"^table.json: got a latency table of .*, expected one of jetson-nano, where this runs",
        ),
        ({"deploy": DeploySettings(input=[96, 96])}, TableError, "were not measured"),
    ],
)
def test_what_cannot_be_validated_is_refused_before_anything_runs(desk, changes, error, message):
    with pytest.raises(error, match=message):
        validate(the_job(**changes), the_space())
    assert not (desk / "found").exists()


def test_a_table_of_another_version_of_the_runtime_is_refused(desk):
    specs = the_space().plan(Deployment(SIZE, CHANNELS, 11))
    save_table(table_of({s: true_ms(s) for s in specs}, device=identify().name, version="0.9"), desk / "table.json")
    with pytest.raises(TableError, match=r"^table.json: measured with torch-eager 0\.9, and there is 1\.0"):
        validate(the_job(), the_space())


def test_the_command_validates_a_real_table_of_this_machine(run_nas, tmp_path):
    tiny = ["space=squeezenas_small", "space.stages=[[8,1,2],[16,1,2]]", "space.stem_channels=8", "space.last_channels=16"]
    shape = [*tiny, "space.low_level_block=0", "space.decoder_channels=8", "deploy.input=[32,48]"]
    assert run_nas("profile", *shape, "rounds=1", "max_rounds=1", "out=table.json").status == 0
    outcome = run_nas("profile", "validate", *shape, "latency.table=table.json", "samples=8", "rounds=2", "out=found")
    assert outcome.status in (0, 1), outcome.err  # eight networks on a machine with other work: it may be refused
    assert "noise floor" in outcome.out
    stored = outcome.status == 0
    assert ("wrote the calibration into table.json" in outcome.out, "table.json is not calibrated" in outcome.err) == (
        stored,
        not stored,
    )
    table = nas.load_table("table.json")
    seen = nas.cost.calibrated.calibrated(table, space="squeezenas_small", deployment=Deployment((32, 48), 8, 11))
    assert isinstance(seen, CalibratedTable) == stored
