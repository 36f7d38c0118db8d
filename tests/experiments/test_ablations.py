"""Every table of the ablations at two steps, and the plain facts of its rows."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

import nas.cli
from nas.space.deployment import Deployment
from nas.space.genotype import save_genotype
from tests.label_trees import write_cityscapes
from tests.small_jobs import random_genotype

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


@pytest.mark.parametrize("name", list(ablations.FORMS))
def test_accuracy_and_latency_are_of_one_size_and_of_a_split_with_labels(name: str) -> None:
    job = ablations.Job(ablations.FORMS[name], "ROOT", Path("out"), (0,), 1, True)
    (size,) = (word.removeprefix("data.size=") for word in job.test() if word.startswith("data.size="))
    assert f"deploy.input={size}" in job.form.deploy
    assert len({word.split("=")[0] for word in job.test()}) == len(job.test())
    assert f"split={'val' if 'data=cityscapes' in job.test() else 'test'}" in job.test()


def test_the_full_form_trains_and_evaluates_on_a_tree_like_that_of_cityscapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_cityscapes(tmp_path / "cityscapes", size=(48, 96))
    full, smoke = ablations.FORMS["full"], ablations.FORMS["smoke"]
    small = {"[1024,2048]": "[48,96]", "[769,1537]": "[33,47]"}
    data, test = (
        tuple(f"{key}={small.get(value, value)}" for key, _, value in (word.partition("=") for word in words))
        for words in (full.data, full.test)
    )
    form = dataclasses.replace(full, data=data, test=test, train=(*smoke.train, "data.workers=0"))
    job = ablations.Job(form, str(root), tmp_path / "out", (0,), 1, False)
    row = tables.TABLES["X"].rows[-1]
    folder = job.folder(row) / "0"
    genotype = random_genotype(tmp_path / "genotype.yaml", init_channels=2)
    folder.mkdir(parents=True)
    save_genotype(folder / "genotype.yaml", dataclasses.replace(genotype, deploy=Deployment((33, 47), 2, 19)))
    statuses = []
    monkeypatch.setattr(ablations, "run", lambda command, job: statuses.append(nas.cli.main(list(command))))
    ablations.train(row, job)
    assert statuses == [0, 0]
    found = json.loads((folder / "train" / "eval.json").read_text())
    assert found["split"] == "val"
    assert 0 <= found["miou"] <= 1


@pytest.mark.parametrize("form", ["reduced", "full"])
def test_a_form_of_real_images_wants_their_folder(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        ablations.main(["X", "--form", form, "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert f"--form {form} needs --root" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
