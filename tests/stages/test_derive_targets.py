"""Derivation under targets: the search's own, others, several at once as a front."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import nas
from nas.config.jobs import DeriveJob
from nas.cost.repair import log_probability
from nas.errors import CheckpointError, ConfigError
from nas.runs.checkpoint import load_checkpoint, save_checkpoint
from nas.stages.derive import FrontResult, derive
from nas.supernet.derivation import genotype_of, shown_repairs, space_of
from search_spaces import SEARCH_SPACES
from tests.small_jobs import made_up_table, search_job, space_config

SPACE = nas.build_space(space_config())


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of one step with a target, whose logits were then drawn anew so that its argmax is far above it."""
    folder = tmp_path_factory.mktemp("searched")
    made_up_table(folder / "table.json")
    job = search_job(folder / "run", latency__table=str(folder / "table.json"), latency__target_ms=0.05, search__max_steps=1)
    nas.search(job)
    path = folder / "run" / "checkpoints" / "last.pt"
    state = load_checkpoint(path)
    generator = torch.Generator().manual_seed(0)
    groups = state["guided_logits"]["default"]
    state["guided_logits"]["default"] = {g: 2 * torch.randn(v.shape, generator=generator) for g, v in groups.items()}
    save_checkpoint(path, state)
    return folder


def predicted(genotype, folder):
    return nas.predict(genotype, nas.load_table(folder / "table.json")).ms


def run(folder, **settings):
    return derive(DeriveJob(run=str(folder / "run"), **settings), SEARCH_SPACES)


def test_a_search_with_a_target_keeps_it_when_derived_from_a_checkpoint(searched, tmp_path):
    result = run(searched, out=str(tmp_path / "new"))
    ms = predicted(nas.load_genotype(result.path), searched)
    state = load_checkpoint(searched / "run/checkpoints/last.pt")
    assert ms <= 0.05 < predicted(genotype_of(state, space_of(state, SEARCH_SPACES))[0], searched)
    assert (result.genotype.provenance["target_latency"], result.genotype.provenance["expected_latency"]) == (
        0.05,
        pytest.approx(ms),
    )
    assert result.repairs
    assert any(f"predicted {ms:.3f} ms, target 0.05 ms" in line for line in result.summary())


@pytest.mark.parametrize("sample", [None, 3])
def test_another_target_and_another_table_replace_those_of_the_search(searched, tmp_path, sample):
    (tmp_path / "copy.json").write_text((searched / "table.json").read_text())
    looser = run(searched, target_ms=0.06, table=str(tmp_path / "copy.json"), sample=sample, out=str(tmp_path / "new"))
    assert looser.genotype.provenance["target_latency"] == 0.06
    assert predicted(looser.genotype, searched) <= 0.06
    tighter = run(searched, target_ms=0.045, sample=sample, out=str(tmp_path / "other"))
    assert predicted(tighter.genotype, searched) <= 0.045
    assert looser.genotype.provenance.get("derive_sample") == sample


def test_a_front_has_a_genotype_for_each_target_and_leaves_out_what_is_dominated(searched, tmp_path):
    targets = [0.06, 0.045, 9.0, 8.0, 0.05]
    result = run(searched, targets=targets, out=str(tmp_path / "front"))
    assert isinstance(result, FrontResult)
    logits = load_checkpoint(searched / "run/checkpoints/last.pt")["guided_logits"]["default"]
    files = sorted((tmp_path / "front").glob("genotype_*.yaml"))
    assert [file.name for file in files] == [f"genotype_{t}ms.yaml" for t in ("0.045", "0.05", "0.06", "8")]
    document = json.loads((tmp_path / "front" / "front.json").read_text())
    assert [row["target_ms"] for row in document["points"]] == sorted(targets)
    assert document["points"][-1]["genotype"] is None  # 9 ms gives what 8 ms gives
    costs, log_p = [], []
    for row, file in zip(document["points"], files, strict=False):
        genotype = nas.load_genotype(file)
        costs.append(predicted(genotype, searched))
        log_p.append(log_probability(logits, SPACE.choices(), genotype.choices))
        assert (row["genotype"], row["predicted_ms"], row["log_probability"]) == (file.name, pytest.approx(costs[-1]), log_p[-1])
        assert costs[-1] <= row["target_ms"] == genotype.provenance["target_latency"]
    assert costs == sorted(costs)
    assert log_p == sorted(log_p)
    assert (tmp_path / "front" / "front.png").stat().st_size > 5000
    assert any("dominated" in line for line in result.summary())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["target_ms=0.001"], "the least reachable is"),
        (["targets=[0.05,0.001]"], "the least reachable is"),
        (["target_ms=5", "table=macs"], "which is in MMACs, not in ms"),
        (["targets=[5]", "table=macs"], "which is in MMACs, not in ms"),
        (["target_ms=[5,6]"], "a target for each of 1 tables"),
        (["targets=[5,5]"], "targets: got [5.0,5.0], expected different ms"),
        (["targets=[5]", "sample=1"], "sample: got 1 with targets"),
        (["targets=[5]", "target_ms=1"], "target_ms: got 1 with targets"),
        (["target_ms=soon"], "target_ms: got 'soon'"),
        (["table=nowhere.json"], "nowhere.json"),
        (["table=none", "target_ms=5"], "expected one to predict with"),
    ],
)
def test_targets_that_cannot_be_met_or_meant_are_status_2_and_write_nothing(searched, run_nas, arguments, message):
    before = (searched / "run" / "genotype.yaml").read_bytes()
    outcome = run_nas("derive", f"run={searched / 'run'}", *arguments)
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert message in outcome.err
    assert (searched / "run" / "genotype.yaml").read_bytes() == before


def test_checkpoints_that_state_no_tables_are_derived_as_before_and_ask_for_a_table_where_one_is_needed(searched, tmp_path):
    state = load_checkpoint(searched / "run/checkpoints/last.pt")
    del state["latency"]
    (tmp_path / "old" / "checkpoints").mkdir(parents=True)
    save_checkpoint(tmp_path / "old" / "checkpoints" / "last.pt", state)
    plain = derive(DeriveJob(run=str(tmp_path / "old")), SEARCH_SPACES)
    assert plain.genotype == genotype_of(state, space_of(state, SEARCH_SPACES))[0]
    with pytest.raises(ConfigError, match="give table="):
        derive(DeriveJob(run=str(tmp_path / "old"), target_ms=0.05), SEARCH_SPACES)
    table = str(searched / "table.json")
    given = derive(DeriveJob(run=str(tmp_path / "old"), target_ms=0.05, table=table), SEARCH_SPACES)
    assert predicted(given.genotype, searched) <= 0.05
    with pytest.raises(CheckpointError):
        derive(DeriveJob(run=str(tmp_path / "none")), SEARCH_SPACES)


def test_many_repairs_are_counted_after_the_first():
    assert shown_repairs(tuple("abcde")) == list("abcde")
    assert shown_repairs(tuple("abcdefg")) == ["a", "b", "c", "d", "3 more decisions"]


def test_front_command_names_every_file(searched, run_nas, tmp_path):
    outcome = run_nas("derive", f"run={searched / 'run'}", "targets=[0.05,0.06]", "out=front")
    assert (outcome.status, outcome.err) == (0, "")
    for name in ("genotype_0.05ms.yaml", "genotype_0.06ms.yaml", "front.json", "front.png"):
        assert str(Path("front") / name) in outcome.out
        assert (Path("front") / name).exists()
