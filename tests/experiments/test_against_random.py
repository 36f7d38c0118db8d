"""Searched against random networks, every stage at two steps; and the recipes that the experiments ship."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import nas
import nas.cli

FOLDER = Path(__file__).parents[2] / "experiments"
RECIPES = sorted(FOLDER.glob("*/recipe.yaml"))


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("against_random", FOLDER / "against_random.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["against_random"] = module
    spec.loader.exec_module(module)
    return module


against_random = _load()


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_every_stage_runs_at_two_steps_and_does_nothing_twice(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = yaml.safe_load(path.read_text())
    recipe = {
        **shipped,
        "data": ["data=synthetic", "data.size=[33,47]", "data.train=4", "data.val=2", "data.test=2"],
        "deploy": {**shipped["deploy"], "input": [33, 47]},
        "search": [*shipped["search"], "search.epochs=1", "search.warmup_epochs=0", "search.max_steps=2", "search.batch_size=2"],
        "train": ["train.max_steps=2", "train.batch_size=2", "train.loss=cross_entropy"],
        "seeds": [0, 1] if "hand_made" in shipped else [0],
        "proxy_seeds": [0] if "proxy" in shipped else [],
        "random": 2,
        "hand_made": shipped.get("hand_made", [])[:1],
        "hand_made_seeds": [0, 1] if "hand_made" in shipped else [],
        "tolerance": 0.2,
    }
    tiny = tmp_path / "recipe.yaml"
    tiny.write_text(yaml.safe_dump(recipe))
    commands = []

    def nas_command(command: Sequence[str]) -> None:
        commands.append(command[0])
        extra = ["rounds=1", "max_rounds=1"][: 2 - ("validate" in command)] if command[0] == "profile" else []
        assert nas.cli.main([*command, *extra]) == 0

    monkeypatch.setattr(against_random, "nas_command", nas_command)
    stages = ("profile", "proxy", "search", "random", "train", "report")
    for stage in stages:
        against_random.main([str(tiny), stage, "--out", str(tmp_path / "runs"), "--jobs", "1"])
    results = {row["run"]: row for row in json.loads((tmp_path / "runs" / "results.json").read_text())}
    seeds = recipe["seeds"]
    by_hand = [f"{against_random.train_name(name)}_seed{seed}" for name in recipe["hand_made"] for seed in (0, 1)]
    assert set(results) == {
        *(f"proxy_{name}_seed0" for name in recipe.get("proxy", {})),
        *(f"train_search_seed{seed}" for seed in seeds),
        *(f"train_random_seed{seed}_{number}" for seed in seeds for number in (0, 1)),
        *by_hand,
    }
    assert all((results[name]["predicted_ms"] is None) == (name in by_hand) for name in results)
    searched, drawn = results["train_search_seed0"], results["train_random_seed0_0"]
    assert abs(drawn["predicted_ms"] / searched["predicted_ms"] - 1) <= 0.2
    assert all(row["measured_ms"] > 0 and 0 <= row["miou"] <= 1 for row in results.values())
    table = capsys.readouterr().out
    assert all(f"| {run} | {row['miou']:.3f} |" in table for run, row in results.items())
    summary = json.loads((tmp_path / "runs" / "summary.json").read_text())
    assert summary["hours"] > 0
    assert summary["train_random"]["runs"] == 2 * len(seeds)
    for name in ("train_random", *map(against_random.train_name, recipe["hand_made"])):
        others = [row["miou"] for run, row in results.items() if run.startswith(f"{name}_")]
        ours = [results[f"train_search_seed{seed}"]["miou"] for seed in seeds]
        assert summary[name]["mean"] == pytest.approx(sum(others) / len(others))
        if len(seeds) > 1:
            assert summary[name]["gain"] == pytest.approx(sum(ours) / len(ours) - sum(others) / len(others))
            assert 0 < summary[name]["p"] <= 1
    assert (tmp_path / "runs" / "chart.png").read_bytes().startswith(b"\x89PNG")
    commands.clear()
    for stage in stages:
        against_random.main([str(tiny), stage, "--out", str(tmp_path / "runs"), "--jobs", "1"])
    assert commands == ["profile"]


def test_the_p_value_is_the_share_of_regroupings_that_part_as_far(tmp_path: Path) -> None:
    recipe = against_random.Recipe(**yaml.safe_load((FOLDER / "lgcnet_camvid" / "recipe.yaml").read_text()))
    job = against_random.Job(recipe, None, tmp_path, 1)
    rows = [{"run": f"train_search_seed{i}", "miou": 0.5 + i / 100, "measured_ms": 1.0} for i in range(3)]
    rows += [{"run": f"train_random_seed{i}_0", "miou": 0.1 + i / 100, "measured_ms": 2.0} for i in range(4)]
    found = against_random.summary_of(job, rows)["train_random"]
    assert found["p"] == pytest.approx(1 / 35)  # of the groupings of seven into three and four
    assert (found["gain"], found["ms"]) == (pytest.approx(0.51 - 0.115), 2.0)


@pytest.mark.parametrize("path", [path for path in RECIPES if "proxy:" in path.read_text()], ids=lambda path: path.parent.name)
def test_the_networks_of_a_proxy_differ_in_size(path: Path) -> None:
    recipe = against_random.Recipe(**yaml.safe_load(path.read_text()))
    sizes = [sum(p.numel() for p in nas.build(against_random.uniform_genotype(recipe, name)).parameters()) for name in recipe.proxy]
    assert max(sizes) > 5 * min(sizes)


def test_a_recipe_of_real_images_wants_their_folder_before_anything_is_measured(tmp_path, capsys) -> None:
    recipe = Path(__file__).parents[2] / "experiments" / "lgcnet_camvid" / "recipe.yaml"
    with pytest.raises(SystemExit) as stopped:
        against_random.main([str(recipe), "profile", "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "--root, the folder of the data set, is needed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
