"""The experiment on hand-made networks: its arithmetic, its smallest form, and the page that it writes."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nas.measuring.fit_calibration import Terms
from tests.small_jobs import CHECKOUT

Script = Callable[[str], tuple[ModuleType, list[list[str]]]]


@pytest.fixture
def module_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Modules of the experiment by name."""
    from importlib import import_module

    monkeypatch.syspath_prepend(str(CHECKOUT / "experiments" / "zoo_here"))

    def load(name: str) -> ModuleType:
        sys.modules.pop(name, None)
        return import_module(name)

    return load


def row_of(agreement: ModuleType, name: str, compute_ms: float, measured_ms: float, **fields: Any) -> Any:
    values = {
        "runtime": "r",
        "size": (64, 96),
        "macs": int(1e6 * compute_ms),
        "p10_ms": 0.0,
        "p90_ms": 0.0,
        "miou_val": None,
        "miou_test": None,
        "fps_3090": None,
    }
    return agreement.Row(network=name, measured_ms=measured_ms, speed=0.5, terms=Terms(compute_ms, 0.0, 3), **{**values, **fields})


def test_the_calibration_is_fitted_on_two_spaces_and_judged_on_the_others(module_of, tmp_path: Path):
    agreement = module_of("agreement")
    seen = [row_of(agreement, f"lgcnet_{i}", float(i), 4.0 * i) for i in range(1, 9)]
    unseen = [row_of(agreement, f"zoo/{i}", float(i), 4.4 * i, fps_3090=100.0 / i, miou_val=70.0) for i in range(1, 5)]
    (found,) = agreement.agreement_of([*seen, *unseen]).values()
    assert found["networks"] == 4
    assert found["calibration"]["compute_scale"] == pytest.approx(2.0)  # the speed brings 4 ms to 2
    assert found["calibrated"]["mape"] == pytest.approx(1 - 1 / 1.1)
    assert found["plain_sum"]["mape"] == pytest.approx(1 - 1 / 2.2)
    assert found["spearman_macs_ms"] == found["spearman_ms_here_ms_3090"] == pytest.approx(1.0)
    agreement.write_rows(tmp_path / "results.csv", [*seen, *unseen])
    agreement.write_charts(tmp_path, [*seen, *unseen])
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["calibrating"] for row in rows] == ["1"] * 8 + ["0"] * 4
    assert float(rows[-1]["error_percent"]) == pytest.approx(100 * (1 / 1.1 - 1), abs=0.01)
    for row in rows:
        error = 100 * (float(row["predicted_ms"]) / float(row["level_ms"]) - 1)
        assert float(row["error_percent"]) == pytest.approx(error, abs=0.02)


def test_the_chart_tells_searched_networks_and_figures_of_test_images_apart(module_of):
    agreement = module_of("agreement")
    rows = [
        row_of(agreement, "zoo/one", 1.0, 4.0, miou_val=70.0, miou_test=69.0),
        row_of(agreement, "zoo/two", 1.0, 5.0, miou_test=60.0),
        row_of(agreement, "squeezenas/three", 1.0, 6.0, miou_val=68.0),
        row_of(agreement, "lgcnet_0", 1.0, 7.0),
    ]
    panel = agreement._accuracies(("r", (64, 96)), rows)
    assert {(point.name, point.ms, point.miou, point.kind) for point in panel.points} == {
        ("one", 4.0, 0.70, "hand-made, val"),
        ("two", 5.0, 0.60, "hand-made, test alone"),
        ("three", 6.0, 0.68, "searched, val"),
    }


def test_the_results_state_the_published_figures_and_the_errors_that_their_columns_give(module_of):
    page = module_of("page")
    with page.RESULTS.open(newline="") as file:
        for row in csv.DictReader(file):
            error = 100 * (float(row["predicted_ms"]) / float(row["level_ms"]) - 1)
            assert float(row["error_percent"]) == pytest.approx(error, abs=0.02)
            if not row["network"].startswith("lgcnet_"):
                published = page.load_design(row["network"], page.all_spaces()).genotype.provenance.get("published", {})
                assert row["published_miou_val"] == str(published.get("cityscapes_val", ""))


@pytest.mark.slow
def test_the_smoke_form_measures_and_is_not_done_twice(script_of: Script, module_of, tmp_path: Path):
    module_of("agreement")
    run, commands = script_of("zoo_here")
    arguments = ["--form", "smoke", "--out", str(tmp_path)]
    run.main(arguments)
    run.main(arguments)
    assert [command[0] for command in commands] == ["bench"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["torch-eager 64x96"]["networks"] == 1
    assert (tmp_path / "chart.png").stat().st_size > 0


def test_the_page_lists_every_network_with_what_was_published(module_of):
    page = module_of("page")
    names = [name for name in page.published_genotypes() if name.startswith("zoo/")]
    text = page.PAGE.read_text(encoding="utf-8")
    assert [line.split("`")[1] for line in text.splitlines() if " | `zoo/" in line] == names
    searched = [name for name in page.published_genotypes() if name not in names]
    assert [line.split("`")[1] for line in text.splitlines() if re.search(r" \| `(fasterseg|squeezenas)/", line)] == searched
    for name in ("zoo/fast_scnn", "zoo/dabnet"):
        assert f"| {' | '.join(page._row(name, page._results().get(name, {})))} |" in text
        assert f"| {' | '.join(page._sources_row(name))} |" in text
    for missing in page._missing()[2:]:
        assert missing in text
