"""Every table of the ablations at two steps, and the plain facts of its rows."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

import nas.cli

FOLDER = Path(__file__).parents[2] / "experiments" / "ablations"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


tables = _load("tables")
ablations = _load("run")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the tables, as their equal rows are."""
    return tmp_path_factory.mktemp("ablations")


@pytest.mark.slow
@pytest.mark.parametrize("name", list(tables.TABLES))
def test_a_table_runs_at_two_steps_and_states_every_row(name: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def run(command: Sequence[str], job: object) -> None:
        commands.append(list(command))
        assert nas.cli.main(list(command)) == 0

    monkeypatch.setattr(ablations, "run", run)
    ablations.main([name, "--form", "smoke", "--seeds", "0", "--jobs", "1", "--out", str(out)])
    rows = json.loads((out / f"{name}.json").read_text())["rows"]
    assert [row["label"] for row in rows] == [row.label for row in tables.TABLES[name].rows]
    for row in rows:
        assert all(0 <= miou <= 100 for miou in row["miou"])
        assert all(ms > 0 for ms in row["ms"])
    text = (out / f"{name}.md").read_text()
    assert all(f"| {row.label} |" in text for row in tables.TABLES[name].rows)
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    commands.clear()
    ablations.main([name, "--form", "smoke", "--seeds", "0", "--jobs", "1", "--out", str(out)])
    assert {command[0] for command in commands} == {"profile"}  # what is finished is not done again


@pytest.mark.parametrize("form", ["reduced", "full"])
@pytest.mark.parametrize("name", list(tables.TABLES))
def test_a_dry_run_prints_the_commands_and_does_nothing(
    name: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ablations.main([name, "--form", form, "--root", "camvid", "--dry-run", "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("nas ") for line in lines)
    searches = [line for line in lines if line.startswith("nas search")]
    for row in tables.TABLES[name].rows:
        assert any(all(override in line.split() for override in row.overrides) for line in searches)
    assert all("--multirun" in line and "seed=0,1" in line for line in searches)
    assert not list(tmp_path.iterdir())


def test_spread_is_mean_and_standard_deviation_of_the_seeds() -> None:
    rows = [{"label": "x", "miou": [30.0, 32.0], "ms": [10.0, 10.0], "parameters_m": [1.0, 3.0], "paper": None}]
    line = ablations.markdown(tables.TABLES["X"], rows).splitlines()[-1]
    assert line == "| x | 31.0 +- 1.4 | 2.00 +- 1.41 | 10.0 +- 0.0 | 100 +- 0 | - |"


def test_a_search_that_was_stopped_goes_on_and_the_others_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = tables.Row("x", ("space.head=aspp",))
    job = ablations.Job(ablations.FORMS["smoke"], None, tmp_path, (0, 1, 2), 1, False)
    for seed, file in {0: "genotype.yaml", 1: "checkpoints/last.pt"}.items():
        path = job.folder(row) / str(seed) / file
        path.parent.mkdir(parents=True)
        path.touch()
    commands: list[Sequence[str]] = []
    monkeypatch.setattr(ablations, "run", lambda command, job: commands.append(command))
    ablations.search(row, job)
    stopped, fresh = commands
    assert stopped[-2:] == ["seed=1", f"resume={job.folder(row) / '1'}"]
    assert "--multirun" in fresh
    assert "seed=2" in fresh
