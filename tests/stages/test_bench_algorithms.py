"""`nas bench algorithms`: what is run, judged and written, and where it goes on."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nas.data.synthetic import SyntheticConfig
from nas.errors import ConfigError, WorkerStoppedError
from nas.runs.rundir import held_to_go_on
from nas.space.benchmark import NETWORKS_FILE
from nas.space.deployment import Deployment
from nas.space.distinct import all_choices
from nas.space.genotype import Genotype, save_genotype
from search_spaces import SEARCH_SPACES
from tests.small_jobs import made_up_table

DEPLOY = Deployment((16, 24), 2, 11)


@pytest.fixture(scope="module")
def mini_benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All architectures of mini, each with a made-up mIoU that grows with its convolutions, and a made-up latency table."""
    folder = tmp_path_factory.mktemp("mini")
    entry = SEARCH_SPACES["mini"]
    space = entry.build(entry.config(head_channels=4))
    made_up_table(folder / "torch-eager.json", space.plan(DEPLOY))
    options = {name: list(given) for name, given in space.genotype_choices().items() if len(given) > 1}
    networks = []
    for decided in all_choices(space):
        digits = [options[name].index(decided[name]) for name in options]
        miou = 0.2 + 0.01 * sum(digits) + 0.002 * digits[0]
        networks.append(
            {
                "architectures": ["".join(map(str, digits))],
                "parameters": 1,
                "macs": 1,
                "miou": [[miou - 0.001, miou + 0.001]],
                "training_s": [5.0 + sum(digits)],
                "measured_ms": [1.0],
                "predicted_ms": [0.05 + 0.001 * sum(digits)],
            }
        )
    content = {
        "format_version": 1,
        "space": "mini",
        "space_config": asdict(space.config),
        "deploy": asdict(DEPLOY),
        "training": {"data": asdict(SyntheticConfig(size=[16, 24], train=4, val=2)), "train": {"batch_size": 2, "lr": 0.05}},
        "budgets": [1],
        "seeds": [0, 1],
        "runtimes": {"torch-eager": {}},
        "decisions": options,
        "networks": networks,
    }
    (folder / NETWORKS_FILE).write_bytes(gzip.compress(json.dumps(content).encode()))
    return folder


def bench(run_nas: Any, folder: Path, *words: str) -> Any:
    return run_nas("bench", "algorithms", f"benchmark={folder}", "out=b", *words)


def test_looked_up_algorithms_are_compared_with_chance_at_the_same_cost(mini_benchmark, run_nas, tmp_path: Path):
    given = ("algorithms=[random,local_search,evolution]", "seeds=12", "trainings=30")
    outcome = bench(run_nas, mini_benchmark, *given)
    assert outcome.status == 0, outcome.err
    content = json.loads((tmp_path / "b" / "bench.json").read_text())
    by_name = {one["name"]: one for one in content["algorithms"]}
    assert set(by_name) == {"random", "local_search", "evolution"}
    means = [one["mean"] for one in content["algorithms"]]
    assert means == sorted(means)
    for one in by_name.values():
        assert len(one["regrets"]) == 12
        assert one["mean"] == pytest.approx(sum(one["regrets"]) / 12)
        assert (one["half_width"] > 0) == (len(set(one["regrets"])) > 1)
        assert len(one["curve"]) == 30
    assert by_name["random"]["p_value"] is None
    assert by_name["random"]["mean"] == pytest.approx(by_name["random"]["random_regret"], abs=0.01)
    assert (by_name["evolution"]["p_value"] < 0.5) == (by_name["evolution"]["mean"] < by_name["evolution"]["random_regret"])
    with (tmp_path / "b" / "bench.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows if row["algorithm"] == "random"] == [str(seed) for seed in range(12)]
    assert (tmp_path / "b" / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert "<table>" in (tmp_path / "b" / "bench.html").read_text()
    assert "mini, at most" in outcome.out
    again = bench(run_nas, mini_benchmark, *given, "resume=auto")
    assert (again.out, again.err) == (outcome.out, "")
    assert bench(run_nas, mini_benchmark, *given).err_lines == [
        "nas bench algorithms: out: the folder b is not empty; go on in it by adding resume=auto, or give another out="
    ]
    other = bench(run_nas, mini_benchmark, "algorithms=[random]", "trainings=3", "resume=auto")
    assert (other.status, other.err_lines) == (
        2,
        ["nas bench algorithms: out: the folder b holds results of another trainings; give another out=, or the same settings"],
    )


def test_a_stopped_bench_goes_on_with_the_searches_that_are_left(mini_benchmark, run_nas, tmp_path: Path, monkeypatch):
    entry = SEARCH_SPACES["mini"]
    space = entry.build(entry.config(head_channels=4))
    decided, made = list(all_choices(space)), []

    def searched(words: list[str]) -> float:
        out = Path(next(word.removeprefix("out=") for word in words if word.startswith("out=")))
        out.mkdir(parents=True)
        made.append(out.name)
        if len(made) == 2:
            raise WorkerStoppedError("a search ended with status 1: killed")
        save_genotype(out / "genotype.yaml", Genotype("mini", asdict(space.config), DEPLOY, decided[len(made)], {}))
        return 7.0

    monkeypatch.setattr("nas.stages.bench_algorithms.run_search", searched)
    given = ("algorithms=[soft,random]", "seeds=3", "trainings=2")
    stopped = bench(run_nas, mini_benchmark, *given)
    assert (stopped.status, stopped.err_lines[-1]) == (1, "nas bench algorithms: a search ended with status 1: killed")
    outcome = bench(run_nas, mini_benchmark, *given, "resume=auto")
    assert outcome.status == 0, outcome.err
    assert made in (["0", "1", "1", "2"], ["0", "1", "2", "1"])
    found = json.loads((tmp_path / "b" / "bench.json").read_text())["algorithms"]
    assert {one["name"]: one["seconds"] for one in found}["soft"] == 7.0


@pytest.mark.slow
def test_searches_in_earnest_are_made_once_and_judged_by_what_they_derive(mini_benchmark, run_nas, tmp_path: Path):
    given = ("algorithms=[random,sampled+search.max_steps:1+search.recalibrate:0]", "seeds=2", "trainings=3", "epochs=1")
    outcome = bench(run_nas, mini_benchmark, *given, "processes=2")
    assert outcome.status == 0, outcome.err
    folders = sorted((tmp_path / "b" / "searches").glob("*/*.json"))
    assert [path.name for path in folders] == ["0.json", "1.json"]
    found = [json.loads(path.read_text()) for path in folders]
    assert all(one["seconds"] > 1 for one in found)
    content = json.loads((tmp_path / "b" / "bench.json").read_text())
    searched = next(one for one in content["algorithms"] if one["name"].startswith("sampled"))
    assert searched["seconds"] == pytest.approx(sum(one["seconds"] for one in found) / 2)
    assert searched["curve"] == []
    again = bench(run_nas, mini_benchmark, *given, "resume=auto")
    assert again.status == 0, again.err
    assert again.out.splitlines()[-12:] == outcome.out.splitlines()[-12:]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["algorithms=[hill]"], "algorithms: got 'hill', expected one of random, local_search, evolution, soft, hard, sampled"),
        (["algorithms=[random+a:1]"], "algorithms: got 'random+a:1', expected random alone"),
        (["algorithms=[hard+seed:1]"], "algorithms: got 'seed:1' in 'hard+seed:1', expected KEY:VALUE of nas search, none of"),
        (["algorithms=[hard+frozen]"], "algorithms: got 'frozen' in"),
        (["algorithms=[]"], "algorithms: got [], expected one or more"),
        (["limit_ms=0.01"], "limit: got 0.01 ms, expected at least"),
        (["runtime=tensorrt"], "runtime: got 'tensorrt', expected one of torch-eager"),
        (["seeds=1"], "seeds: got 1, expected at least 2"),
        (["benchmark=nowhere"], "benchmark: got nowhere, expected a folder with networks.json.gz"),
        (["algorithms=[hard+search.tau:3]", "seeds=2"], "search.tau"),
    ],
)
def test_wrong_input_is_one_line(words: list[str], message: str, mini_benchmark, run_nas, tmp_path: Path):
    given = words if words[0].startswith("benchmark") else [f"benchmark={mini_benchmark}", *words]
    outcome = run_nas("bench", "algorithms", "out=b", *given)
    assert outcome.status == 2
    assert len(outcome.err_lines) == 1
    assert message in outcome.err


def test_a_folder_with_something_else_is_refused(tmp_path: Path):
    (tmp_path / "x").write_text("")
    with pytest.raises(ConfigError, match="is not empty"), held_to_go_on(str(tmp_path), "bench algorithms", {}, goes_on=True):
        pass
    (tmp_path / "settings.json").write_text("{")
    with (
        pytest.raises(ConfigError, match=r"settings.json: .*give another out="),
        held_to_go_on(str(tmp_path), "bench algorithms", {}, goes_on=True),
    ):
        pass
