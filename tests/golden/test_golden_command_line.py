"""The command line: verbs, names and defaults of all settings, and what is said of wrong ones."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.golden.records import run_in

VERBS = (
    *("search", "derive", "train", "eval", "export", "profile", "show", "predict", "report", "bench"),
    *("profile plan", "profile validate", "profile import", "profile devices", "bench search", "bench algorithms"),
)
SPACES = ("gas", "cas", "mini", "squeezenas_small", "squeezenas_large", "squeezenas_xlarge", "fasterseg")
DATA = ("camvid", "cityscapes", "folder", "kitti", "bdd100k", "image_folder")
WRONG = {
    "unknown verb": ("searchh",),
    "unknown sub-verb": ("bench", "frobnicate"),
    "unknown setting": ("search", "search.epoch=3"),
    "unknown option": ("search", "latency.table=macs", "search.relaxation=softest"),
    "wrong type": ("search", "latency.table=macs", "search.epochs=many"),
    "missing setting": ("train",),
    "missing table": ("search", "latency.table=nowhere/torch-eager"),
    "missing genotype": ("show", "genotype=squeezenas/lat_smal"),
    "missing run": ("derive", "run=nowhere"),
    "two that exclude each other": ("search", "latency.table=macs", "latency.target_ms=1", "latency.unit=us"),
    "wrong space": ("search", "latency.table=macs", "space.num_cells=0"),
    "unknown space": ("search", "space=lgcnett"),
}


@pytest.fixture(autouse=True)
def _columns(monkeypatch):
    """Help is wrapped to the terminal."""
    monkeypatch.setenv("COLUMNS", "100")


def test_usage_lists_the_same_verbs(golden_text, tmp_path):
    golden_text("help", run_in(tmp_path, "--help"))


@pytest.mark.parametrize("verb", VERBS)
def test_verb_has_the_same_help_settings_and_defaults(golden_text, tmp_path, verb):
    lines = run_in(tmp_path, *verb.split(), "--help").splitlines()
    stated = [line.partition("  [")[0] for line in lines if re.match(r"  \S", line)]  # the texts may be worded better
    golden_text(f"help_{verb.replace(' ', '_')}", "\n".join(stated) + "\n")


@pytest.mark.parametrize("verb", ["search", "train", "profile plan"])
def test_settings_as_given_are_all_in_the_help(golden_text, tmp_path, verb):
    settings = run_in(tmp_path, *verb.split(), "--cfg", "job")
    golden_text(f"settings_{verb.replace(' ', '_')}", settings)
    shown = run_in(tmp_path, *verb.split(), "--help")
    assert [key for key in keys(yaml.safe_load(settings)) if f"\n  {key}=" not in shown] == []


def keys(settings, prefix=""):
    """The full key of every setting, an empty mapping being one."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


@pytest.mark.parametrize("space", SPACES)
def test_search_of_a_space_has_the_same_defaults(golden_text, tmp_path, space):
    golden_text(f"settings_search_{space}", run_in(tmp_path, "search", f"space={space}", "--cfg", "job"))


@pytest.mark.parametrize("data", DATA)
def test_data_set_has_the_same_defaults(golden_text, tmp_path, data):
    golden_text(f"settings_train_{data}", run_in(tmp_path, "train", f"data={data}", "--cfg", "job", "--package", "data"))


def test_two_trackers_have_the_same_defaults(golden_text, tmp_path):
    words = ("train", "logger=[wandb,tensorboard]", "--cfg", "job", "--package", "logger")
    golden_text("settings_trackers", run_in(tmp_path, *words))


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_told_alike(golden, run_nas, case):
    outcome = run_nas(*WRONG[case])
    golden(case, {"status": outcome.status, "out": outcome.out, "err": outcome.err})
