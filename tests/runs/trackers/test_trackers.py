"""Trackers as the loop sees them: what they are told, and that none can stop a run."""

from __future__ import annotations

import importlib.util
import logging

import numpy as np
import pytest

from nas.errors import ConfigError
from nas.runs.trackers import TRACKERS, Trackers, check_trackers, open_trackers
from nas.runs.trackers.tensorboard_tracker import TensorboardConfig
from nas.runs.trackers.tracker import Tracker
from nas.runs.trackers.wandb_tracker import WandbConfig
from nas.runs.tracking import read_metrics
from tests.small_jobs import overrides, random_genotype, rows, search_job, train_job


class Listening(Tracker):
    """Keeps what it is told; raises in the method of the name given."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.told = fails, []

    def _tell(self, name, *facts):
        self.told.append((name, *facts))
        if name == self.fails:
            raise OSError("the network\nis gone")

    def begin(self, step):
        self._tell("begin", step)

    def scalars(self, scalars, *, step):
        self._tell("scalars", step, scalars)

    def pictures(self, pictures, *, step):
        self._tell("pictures", step, sorted(pictures))

    def close(self, *, failed):
        self._tell("close", failed)


def tell_all(trackers):
    trackers.begin(4)
    trackers.write(step=5, epoch=1, split="train", scalars={"loss": 0.5, "miou": None})
    trackers.evaluated(5)
    trackers.close(failed=False)


def test_trackers_are_told_scalars_by_split_and_pictures_at_evaluations():
    tracker = Listening()
    tell_all(Trackers({"one": tracker}, draw=lambda: {"b": np.zeros((1, 1, 3), dtype=np.uint8)}))
    assert tracker.told == [
        ("begin", 4),
        ("scalars", 5, {"train/loss": 0.5, "train/epoch": 1}),
        ("pictures", 5, ["b"]),
        ("close", False),
    ]


@pytest.mark.parametrize("fails", ["begin", "scalars", "pictures", "close"])
def test_failing_tracker_is_named_once_and_the_others_go_on(caplog, fails):
    caplog.set_level(logging.WARNING, "nas")
    broken, sound = Listening(fails), Listening()
    tell_all(Trackers({"broken": broken, "sound": sound}))
    assert [name for name, *_ in sound.told] == ["begin", "scalars", "pictures", "close"]
    assert [name for name, *_ in broken.told][-1] == fails
    (record,) = caplog.records
    assert record.message == "broken failed (OSError: the network is gone); the run goes on without it"


def test_pictures_are_not_drawn_where_nobody_looks():
    def draw():
        raise AssertionError

    Trackers(draw=draw).evaluated(1)


def listen(monkeypatch, tracker):
    entry = TRACKERS["tensorboard"]
    monkeypatch.setitem(TRACKERS, "tensorboard", type(entry)(entry.config, entry.package, lambda *_: tracker))


@pytest.mark.parametrize("fails", ["begin", "pictures"])
def test_run_whose_tracker_fails_in_the_middle_ends_as_one_without(run_nas, monkeypatch, tmp_path, fails):
    listen(monkeypatch, Listening(fails))
    genotype = tmp_path / "genotype.yaml"
    random_genotype(genotype)
    job = train_job(genotype, "run")
    outcome = run_nas("train", *overrides(job), "logger=tensorboard")
    assert outcome.status == 0
    assert outcome.out.count("tensorboard failed (OSError: the network is gone); the run goes on without it") == 1
    assert run_nas("train", *overrides(train_job(genotype, "plain"))).status == 0
    assert rows(tmp_path / "run") == rows(tmp_path / "plain")


def test_trackers_are_told_exactly_the_rows_of_metrics_jsonl(run_nas, monkeypatch, tmp_path):
    tracker = Listening()
    listen(monkeypatch, tracker)
    assert run_nas("search", *overrides(search_job("run", search__relaxation="sampled")), "logger=tensorboard").status == 0
    told = [(step, scalars) for name, step, *scalars in (t for t in tracker.told if t[0] == "scalars")]
    wanted = []
    for row in read_metrics(tmp_path / "run" / "metrics.jsonl"):
        step, split = row.pop("step"), row.pop("split")
        wanted.append((step, [{f"{split}/{name}": value for name, value in row.items()}]))
    assert told == wanted
    assert [t for t in tracker.told if t[0] == "pictures"] == [("pictures", step, ["architecture"]) for step in (3, 6)]
    assert (tracker.told[0], tracker.told[-1]) == (("begin", 0), ("close", False))


def test_run_that_fails_tells_its_trackers_so(monkeypatch, tmp_path):
    tracker = Listening()
    listen(monkeypatch, tracker)
    (tmp_path / "config.yaml").write_text("verb: train\n")
    with pytest.raises(ZeroDivisionError), open_trackers({"tensorboard": TensorboardConfig()}, tmp_path, resumed=False):
        raise ZeroDivisionError
    assert tracker.told == [("close", True)]


@pytest.mark.parametrize("name", list(TRACKERS))
def test_missing_package_is_status_2_naming_the_command_and_leaves_no_folder(run_nas, monkeypatch, tmp_path, name):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted, *rest: None if wanted == name else find(wanted, *rest))
    outcome = run_nas("search", *overrides(search_job("run")), f"logger={name}")
    assert outcome.status == 2
    assert outcome.err_lines == [
        f"nas search: logger={name}: the package {name} is not installed; run pip install segnas[tracking]"
    ]
    assert not (tmp_path / "run").exists()


def test_tracker_that_cannot_start_is_status_2_and_the_same_command_can_be_given_again(run_nas, monkeypatch, tmp_path):
    import wandb

    def refuse(**_):
        raise wandb.errors.UsageError("No API key\nconfigured.")

    command = ("train", *overrides(train_job(tmp_path / "genotype.yaml", "run")), "logger=wandb", "logger.wandb.mode=disabled")
    random_genotype(tmp_path / "genotype.yaml")
    with monkeypatch.context() as patch:
        patch.setattr(wandb, "init", refuse)
        outcome = run_nas(*command)
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert "logger.wandb: cannot start (No API key configured.); run wandb login, or give logger.wandb.mode=offline" in outcome.err
    again = run_nas(*command)
    assert again.status == 0, again.err
    assert not (tmp_path / "run" / "wandb").exists()  # disabled: nothing is written


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("logger=wanb", "logger: got 'wanb', expected one of jsonl, tensorboard, wandb"),
        ("logger.wandb.mode=offline", "logger.wandb: there is no such key"),
        ("+logger.other=1", "logger.other: expected one of wandb, tensorboard"),
        ("+logger.wandb.mode=offline", "logger.wandb: expected one of wandb, tensorboard"),
    ],
)
def test_wrong_choice_of_tracker_is_status_2(run_nas, argument, said):
    outcome = run_nas("search", *overrides(search_job("run")), argument)
    assert (outcome.status, len(outcome.err_lines)) == (2, 1)
    assert said in outcome.err


@pytest.mark.parametrize(("config", "key"), [(WandbConfig, {"mode": "on"}), (TensorboardConfig, {"flush_secs": 0})])
def test_setting_of_a_tracker_out_of_range_is_refused_by_name(config, key):
    with pytest.raises(ConfigError, match=rf"logger\.\w+\.{next(iter(key))}: got .*expected"):
        config(**key)


def test_every_tracker_has_a_choice_of_the_config_group_with_its_settings(run_nas):
    for name, entry in TRACKERS.items():
        outcome = run_nas("train", f"logger={name}", "--cfg", "job", "genotype=x")
        assert outcome.status == 0
        for key in entry.config.__dataclass_fields__:
            assert f"    {key}: " in outcome.out
    check_trackers({name: entry.config() for name, entry in TRACKERS.items()})
