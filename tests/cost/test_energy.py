"""Energy of a derived network for one image."""

from __future__ import annotations

import random
from dataclasses import asdict, replace

import pytest
import torch

from nas.cost import Entry, LatencyTable, MacsTable, ProtocolInfo, RuntimeInfo
from nas.cost.calibrated import CalibratedTable
from nas.cost.energy import network_energy
from nas.devices.runtime_name import RuntimeName
from nas.devices.this_machine import DeviceInfo
from nas.ops import is_free
from nas.space.deployment import Deployment
from nas.space.design import Design, design_of
from nas.space.genotype import Genotype
from search_spaces import SEARCH_SPACES
from tests.cost.small_tables import calibration

ENTRY = SEARCH_SPACES["lgcnet"]
CONFIG = ENTRY.config(num_cells=3, reduction_cells=[1, 2], fused_cells=[0, 1, 2], head_channels=8)
SPACE = ENTRY.build(CONFIG)
DEPLOY = Deployment((61, 94), 4, 5)
SYSTEM = {"power source": "INA3221 of the module", "idle power": "2.10 W"}


def design() -> Design:
    choices = SPACE.random_choices(torch.Generator().manual_seed(0))
    return design_of(Genotype("lgcnet", asdict(CONFIG), DEPLOY, choices, {}), SEARCH_SPACES)


def executed() -> list[str]:
    """Key of each operation that the network executes and that costs anything, as often as it does."""
    return [spec.key for _, spec in design().graph.operations() if not is_free(spec)]


def table_with(energies: dict[str, float], *, batch: int = 1, system: dict[str, str] | None = None) -> LatencyTable:
    keys = [spec.key for spec in SPACE.plan(DEPLOY) if not is_free(spec)]
    return LatencyTable(
        device=DeviceInfo(name="some-board"),
        runtime=RuntimeInfo.of(RuntimeName(backend="tensorrt", batch=batch), version="10.3.0"),
        protocol=ProtocolInfo(warmup=1, rounds=3, calls="1", statistic="median", threads=1),
        measured_at="2026-01-01T00:00:00+00:00",
        entries={key: Entry(1.0, 1.0, 1.0, 3, energy_mj=energies.get(key)) for key in keys},
        system=system or {},
    )


def energies() -> dict[str, float]:
    drawn = random.Random(0)
    return {spec.key: drawn.uniform(0.5, 9.0) for spec in SPACE.plan(DEPLOY)}


@pytest.mark.parametrize("batch", [1, 4])
def test_energy_of_an_image_is_the_sum_over_what_is_executed_shared_by_the_images_of_a_call(batch: int) -> None:
    by_key = energies()
    energy = network_energy(design().graph, table_with(by_key, batch=batch, system=SYSTEM))
    assert energy.mj == pytest.approx(sum(by_key[key] for key in executed()) / batch)
    assert sum(mj or 0.0 for mj in energy.by_part.values()) == pytest.approx(energy.mj)
    assert set(energy.by_part) == {part for part, _ in design().graph.operations()}
    assert energy.known == energy.operations == len(executed())
    assert f"energy: {energy.mj:.3f} mJ for one image, not calibrated: " in energy.line()
    assert "idle power (2.10 W) included; read from: INA3221 of the module" in energy.line()


def test_energy_is_unknown_where_one_operation_lacks_it_and_says_how_many_do() -> None:
    by_key = energies()
    (lacking,) = random.Random(1).sample(sorted(set(executed())), 1)
    del by_key[lacking]
    energy = network_energy(design().graph, table_with(by_key))
    known = len(executed()) - executed().count(lacking)
    assert (energy.mj, energy.known) == (None, known)
    assert energy.line() == (
        f"energy: --, as the table holds that of {known} of {len(executed())} operations; measure a new table with "
        "nas profile energy=true"
    )
    incomplete = {part for part, spec in design().graph.operations() if spec.key == lacking}
    assert {part for part, mj in energy.by_part.items() if mj is None} == incomplete
    assert energy.as_json() is None


def test_a_calibration_of_latencies_leaves_energies_as_they_are() -> None:
    plain = table_with(energies())
    seen = CalibratedTable(plain, calibration("lgcnet", compute_scale=0.5))
    assert network_energy(design().graph, seen) == network_energy(design().graph, plain)
    assert "read from: not stated" in network_energy(design().graph, plain).line()


def test_counted_costs_have_no_energy() -> None:
    assert network_energy(design().graph, MacsTable()) is None


def test_table_of_a_run_without_energy_has_none() -> None:
    table = table_with({})
    assert network_energy(design().graph, table).mj is None
    assert network_energy(design().graph, replace(table, entries={})).known == 0
