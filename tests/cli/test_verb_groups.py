"""Config groups of a verb: those that a command line can use, and messages about the others."""

from __future__ import annotations

import pytest

from nas.cli import main
from nas.cli.verb_groups import GROUPS, groups_of
from nas.config.jobs import PredictJob, SearchJob, ShowJob

JOB = ["predict", "genotype=squeezenas/lat_small", "latency.table=macs"]


def test_a_verb_has_the_groups_that_its_settings_have():
    assert list(groups_of(SearchJob, [])) == list(GROUPS) == ["space", "data", "logger"]
    assert list(groups_of(ShowJob, ["space=lgcnet"])) == ["space"]
    assert groups_of(PredictJob, ["genotype=a", "latency.table=macs"]) == {}


@pytest.mark.parametrize("word", ["data=camvid", "+data=camvid", "~data", "+data@x=camvid", "++data.root=."])
def test_a_group_that_a_command_line_names_is_known_whatever_the_verb(word):
    assert list(groups_of(PredictJob, ["genotype=a", word])) == ["data"]


@pytest.mark.parametrize("flag", ["--config-dir=a", "--config-dir", "-cd", "--config-path=a", "--config-name=a"])
def test_configs_of_the_user_may_use_any_group(flag):
    assert list(groups_of(PredictJob, [flag, "a"])) == list(GROUPS)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("+data=camvid", "data: there is no such key; the keys are genotype, run, deploy, num_classes, latency, out"),
        ("+logger=wandb", "logger: there is no such key; the keys are genotype, run, deploy, num_classes, latency, out"),
        ("space=lgcnet", "Could not override 'space'. No match in the defaults list."),
    ],
)
def test_a_group_that_a_verb_does_not_have_is_refused_in_one_line(word, said, capsys):
    assert main([*JOB, word]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"nas predict: {said}")
    assert error.count("\n") == 1


def test_a_sweep_that_an_override_asks_for_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*JOB, "num_classes=3,4"]) == 2
    assert list(tmp_path.iterdir()) == []
    assert main([*JOB, "hydra.mode=MULTIRUN", "num_classes=3,4"]) == 0
    assert sorted(path.parent.name for path in tmp_path.rglob("predict.json")) == ["0", "1"]
