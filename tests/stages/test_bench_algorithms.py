"""`nas bench algorithms`: what is run, judged and written, and where it goes on."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import nas
from nas.config.jobs import SearchJob
from nas.errors import ConfigError, WorkerStoppedError
from nas.files import shipped
from nas.probing.algorithms.search_process import Searched
from nas.runs.rundir import held_to_go_on
from nas.space.benchmark import NETWORKS_FILE, read_benchmark
from tests.probing.algorithms.made_benchmark import DECISIONS, made_mini_benchmark
from tests.small_jobs import CHECKOUT


@pytest.fixture(scope="module")
def mini_benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_mini_benchmark(tmp_path_factory.mktemp("mini"))


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


def test_a_benchmark_that_ships_is_given_by_its_name(mini_benchmark, run_nas, tmp_path: Path, monkeypatch):
    benchmarks = tmp_path / "package" / "lgcnet" / "benchmarks"
    benchmarks.mkdir(parents=True)
    for name in ("small", "large"):
        (benchmarks / name).symlink_to(mini_benchmark)
    real = shipped.resource_dir
    monkeypatch.setattr(shipped, "resource_dir", lambda name: tmp_path / "package" if name == "search_spaces" else real(name))
    assert list(shipped.shipped_benchmarks()) == ["large", "small"]
    assert nas.load_benchmark("small").networks == nas.load_benchmark(mini_benchmark).networks
    outcome = bench(run_nas, Path("small"), "algorithms=[random]")
    assert outcome.status == 0, outcome.err
    (tmp_path / "mini").mkdir()
    for given in ("mini", "nowhere"):
        outcome = run_nas("bench", "algorithms", f"benchmark={given}", "out=c")
        assert (outcome.status, outcome.err) == (
            2,
            f"nas bench algorithms: benchmark: got {given}, expected one of large, small, or a folder with networks.json.gz; "
            "experiments/mini makes one\n",
        )
    (tmp_path / "small").symlink_to(tmp_path / "mini")
    assert nas.load_benchmark("small").folder == benchmarks / "small"
    with pytest.raises(ConfigError, match="got small, expected"):
        nas.load_benchmark("./small")


def test_a_stopped_bench_goes_on_with_the_searches_that_are_left(mini_benchmark, run_nas, tmp_path: Path, monkeypatch):
    made: list[str] = []

    def searched(job: SearchJob, kept: Path, name: str, ranked: list[dict[str, str]]) -> None:
        assert (job.seed, job.out) == (int(kept.stem), str(kept.with_suffix("")))
        made.append(name)
        if len(made) == 2:
            raise WorkerStoppedError(f"{name}: killed")
        found = Searched(7.0 + job.seed, {name: "skip_connect" for name in DECISIONS}, 1.0, 0.5, 0.25)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(asdict(found)))

    monkeypatch.setattr("nas.stages.bench_algorithms.run_and_keep", searched)
    monkeypatch.setattr("nas.stages.bench_algorithms.search_pool", lambda processes: ThreadPoolExecutor(processes))
    given = ("algorithms=[soft,random]", "seeds=3", "trainings=2")
    stopped = bench(run_nas, mini_benchmark, *given)
    assert (stopped.status, stopped.err_lines[-1]) == (1, "nas bench algorithms: soft with seed 1: killed")
    outcome = bench(run_nas, mini_benchmark, *given, "resume=auto")
    assert outcome.status == 0, outcome.err
    assert sorted(made) == ["soft with seed 0", *["soft with seed 1"] * 2, "soft with seed 2"]
    found = {one["name"]: one for one in json.loads((tmp_path / "b" / "bench.json").read_text())["algorithms"]}
    assert found["soft"]["seconds"] == 8.0
    assert [one["seconds"] for one in found["soft"]["searches"]] == [7.0, 8.0, 9.0]
    assert found["random"]["searches"] == []


@pytest.mark.slow
def test_searches_in_earnest_are_made_once_and_judged_by_what_they_derive(mini_benchmark, run_nas, tmp_path: Path):
    given = ("algorithms=[random,sampled+search.max_steps:1+search.recalibrate:0]", "seeds=2", "trainings=3", "epochs=1")
    outcome = bench(run_nas, mini_benchmark, *given, "processes=2")
    assert (outcome.status, outcome.err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "b" / "searches").glob("*/*")) == ["0.json", "1.json"]
    found = [json.loads(path.read_text()) for path in sorted((tmp_path / "b" / "searches").glob("*/*.json"))]
    benchmark = read_benchmark(mini_benchmark)
    content = json.loads((tmp_path / "b" / "bench.json").read_text())
    searched = next(one for one in content["algorithms"] if one["name"].startswith("sampled"))
    assert searched["searches"] == found
    assert searched["seconds"] == pytest.approx(sum(one["seconds"] for one in found) / 2)
    assert searched["curve"] == []
    assert min(searched["regrets"]) >= 0
    for one in found:
        assert set(one) == {"seconds", "choices", "predicted_ms", "entropy", "gap", "losses"}
        assert one["predicted_ms"] == pytest.approx(benchmark.latency("torch-eager")[benchmark.number_of(one["choices"])], rel=1e-5)
        assert one["predicted_ms"] <= content["settings"]["limit_ms"]
        assert 0 < one["entropy"] <= 1
        assert -1 < one["gap"] < 1
        assert len(one["losses"]) >= 32
    assert -1 <= searched["rank"] <= 1
    assert searched["gap"] == pytest.approx(sum(one["gap"] for one in found) / 2)
    again = bench(run_nas, mini_benchmark, *given, "resume=auto")
    assert again.status == 0, again.err
    assert again.out.splitlines()[-12:] == outcome.out.splitlines()[-12:]


@pytest.mark.slow
def test_a_search_that_fails_is_named(mini_benchmark, run_nas):
    given = ("algorithms=[soft+search.weight_lr:1e30+search.weight_lr_end:1e30+search.recalibrate:0]", "seeds=2", "epochs=3")
    outcome = bench(run_nas, mini_benchmark, *given)
    assert outcome.status == 1
    assert len(outcome.err_lines) == 1
    assert re.match(r"nas bench algorithms: soft\+search.weight_lr:1e30\S* with seed [01]: .*loss", outcome.err)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes_at_once(mini_benchmark, tmp_path: Path, number: signal.Signals):
    words = (f"benchmark={mini_benchmark}", "algorithms=[soft]", "seeds=2", "epochs=100000", "processes=2", "out=b")
    with subprocess.Popen(
        [sys.executable, "-m", "nas", "bench", "algorithms", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            eventually(lambda: len(list((tmp_path / "b").glob("searches/*/*/metrics.jsonl"))) == 2)
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # as a terminal does
            else:
                process.send_signal(number)
            _, err = process.communicate(timeout=20)
            assert process.returncode == 130
            assert err.splitlines()[-1] == "nas bench algorithms: interrupted"
            assert [line for line in err.splitlines() if "searching" not in line][:-1] == []
            eventually(lambda: not in_session(process.pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def in_session(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_benchmark_whose_latencies_are_not_its_tables_is_refused(mini_benchmark, run_nas, tmp_path: Path):
    table = json.loads((mini_benchmark / "torch-eager.json").read_text())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / NETWORKS_FILE).write_bytes((mini_benchmark / NETWORKS_FILE).read_bytes())
    for entry in table["entries"].values():
        entry.update({key: 1.01 * value for key, value in entry.items() if key.endswith("_ms")})
    (tmp_path / "other" / "torch-eager.json").write_text(json.dumps(table))
    outcome = run_nas("bench", "algorithms", "out=b", f"benchmark={tmp_path / 'other'}", "algorithms=[random]")
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert re.search(r"got predicted_ms \S+ for network \d+ on torch-eager, expected \S+, what torch-eager.json says", outcome.err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["algorithms=[hill]"], "algorithms: got 'hill', expected one of random, local_search, evolution, soft, hard, sampled"),
        (["algorithms=[random+a:1]"], "algorithms: got 'random+a:1', expected random alone"),
        (["algorithms=[hard+seed:1]"], "algorithms: got 'seed:1' in 'hard+seed:1', expected KEY:VALUE of nas search, none of"),
        (["algorithms=[hard+frozen]"], "algorithms: got 'frozen' in"),
        (["algorithms=[]"], "algorithms: got [], expected one or more"),
        (["limit_ms=0.01"], "limit_ms: got 0.01, expected at least"),
        (["runtime=tensorrt"], "runtime: got 'tensorrt', expected one of torch-eager"),
        (["seeds=1"], "seeds: got 1, expected at least 2"),
        (["benchmark=nowhere"], "benchmark: got nowhere, expected "),
        (["algorithms=[random,hard+search.tau:3]"], "algorithms: got 'hard+search.tau:3': search.tau: there is no such key"),
        (["algorithms=[soft,hard+search.tau_end:x]"], "algorithms: got 'hard+search.tau_end:x': search.tau_end: "),
        (["algorithms=[soft,hard+search.level:three]"], "algorithms: got 'hard+search.level:three': search.level: got "),
        (["algorithms=[hard+data.train:3]"], "got 'data.train:3' in 'hard+data.train:3', expected KEY:VALUE of nas search"),
        (["algorithms=['soft+latency.weight:[1,2]']"], "algorithms: got 'soft+latency.weight:[1,2]': latency.weight"),
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
