"""Tests of `nas.devices.path_settings`: what is a path is marked as one, and `~` is the home folder everywhere."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import nas
from nas.cli.setting_texts import setting_texts
from nas.cli.verbs import SUB_VERBS, VERBS, verb_of
from nas.config import jobs
from nas.config.settings import LatencySettings, SshSettings
from nas.config.train_settings import DistillSettings
from nas.data import DATASETS
from nas.data.folder import FolderConfig
from nas.data.image_folder import IMAGE_DATASETS
from nas.devices.path_settings import path_keys, path_values
from nas.errors import ConfigError
from nas.probing.bench.bench_job import PeerSettings
from nas.runs.trackers import TRACKERS
from search_spaces import SEARCH_SPACES

ABOUT_PATHS = re.compile(r"\b(file|files|folder|folders|path|paths|checkout|\w+\.(yaml|json|png|txt))\b", re.IGNORECASE)
"""What the text of a setting that may be a path says."""
NO_PATHS = {
    "CityscapesConfig.train_folders": "names of folders",
    "EvalJob.data": "a section",
    "ExportSettings.classes": "names of classes",
    "ExportSettings.target": "the name of a runtime",
    "FasterSegConfig.path_rule": "a way through a network",
    "FolderConfig.image_suffix": "the end of a name",
    "ImportJob.device": "the name of a device",
    "SshSettings.folder": "of the other machine, whose home folder is another one",
    "WandbConfig.mode": "a word",
    "WandbConfig.name": "the name of a run",
}
"""Settings with such a text that are none -> what they are."""


def configs() -> Iterator[type[Any]]:
    """Every dataclass of settings, with the sections in it."""
    names = [*VERBS, *(f"{verb} {sub}" for verb in VERBS for sub in SUB_VERBS.get(verb, ()))]
    todo = [verb_of(name).job for name in names]
    todo += [entry.config for entries in (DATASETS, TRACKERS, SEARCH_SPACES) for entry in entries.values()]
    todo += IMAGE_DATASETS.values()
    seen = set()
    while todo:
        config = todo.pop()
        if config in seen:
            continue
        seen.add(config)
        todo += [kind for kind in get_type_hints(config).values() if dataclasses.is_dataclass(kind)]
        yield config


CONFIGS = sorted(configs(), key=lambda config: config.__name__)
PATHS = [(config, one.name) for config in CONFIGS for one in dataclasses.fields(config) if one.metadata.get("path")]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_a_setting_that_is_a_path_is_marked_as_one(config: type[Any]) -> None:
    texts, types = setting_texts(config), get_type_hints(config)
    marked = {one.name for one in dataclasses.fields(config) if one.metadata.get("path")}
    textual = {name for name, kind in types.items() if kind is Any or "str" in str(kind)}
    told = {name for name in textual if ABOUT_PATHS.search(texts.get(name, ""))}
    told -= {name for name in told if f"{config.__name__}.{name}" in NO_PATHS}
    assert told <= marked, "mark it with path_setting, or say in NO_PATHS what it is"
    assert {"out", "root"} & types.keys() <= marked


def test_no_exception_is_out_of_date() -> None:
    names = {
        f"{config.__name__}.{name}"
        for config in CONFIGS
        for name, text in setting_texts(config).items()
        if ABOUT_PATHS.search(text)
    }
    assert NO_PATHS.keys() <= names - {f"{config.__name__}.{name}" for config, name in PATHS}


def given(config: type[Any], name: str, value: str) -> Any:  # noqa: ANN401
    """An instance with the path."""
    least: dict[str, dict[str, Any]] = {"LatencySettings": {"table": "none"}, "BenchNetworksJob": {"runner": "bundle"}}
    return config(**{**least.get(config.__name__, {}), name: value})


@pytest.mark.parametrize(("config", "name"), PATHS, ids=lambda one: getattr(one, "__name__", one))
def test_every_path_begins_in_the_home_folder(config: type[Any], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    assert getattr(given(config, name, "~/a b/~c"), name) == "/somebody/a b/~c"
    assert getattr(given(config, name, "~"), name) == "/somebody"
    assert getattr(given(config, name, "./~/a"), name) == "./~/a"
    assert getattr(given(config, name, f"~root{os.sep}a"), name) == f"{Path('~root').expanduser()}/a"
    with pytest.raises(ConfigError, match=rf"{name}: got '~no-such-user/a', and there is no user 'no-such-user'; .* \./~no-such"):
        given(config, name, "~no-such-user/a")


def test_lists_of_paths_are_completed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    assert LatencySettings(table=["~/a.json", "macs"]).table == ["/somebody/a.json", "macs"]
    assert jobs.DeriveJob(run="r", table=["~/a.json"]).table == ["/somebody/a.json"]


def test_messages_name_the_section_of_a_setting() -> None:
    sections = ((SshSettings, "key", "ssh"), (DistillSettings, "teacher", "distill"), (PeerSettings, "squeezenas", "peer"))
    for config, name, section in (*sections, (LatencySettings, "table", "latency"), (FolderConfig, "root", "data")):
        with pytest.raises(ConfigError, match=rf"^{section}\.{name}: "):
            given(config, name, "~no-such-user")


def test_path_keys_name_the_settings_of_sections() -> None:
    assert set(path_keys(jobs.TrainJob)) == {
        *("genotype", "weights", "encoder_weights", "out", "resume", "distill.teacher"),
    }
    assert {"latency.table", "out", "resume"} == set(path_keys(jobs.SearchJob))


def test_python_refuses_a_folder_of_nobody_as_the_command_line_does() -> None:
    for refused in (nas.load_genotype, nas.load_table):
        with pytest.raises(ConfigError, match="there is no user 'no-such-user'"):
            refused("~no-such-user/a")


def test_path_values_are_those_of_the_path_settings_that_are_given() -> None:
    job = jobs.PredictJob(genotype="g", out="a", latency=LatencySettings(table="b"))
    assert {"g", "a", "b"} == set(path_values(job))


def test_the_command_line_and_python_look_in_the_home_folder(run_nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / "net.yaml").write_text(_published().read_text())
    assert nas.load_genotype("~/net.yaml") == nas.load_genotype("squeezenas/lat_small")
    told = run_nas("show", "genotype=~/net.yaml", 'out="~/made/net.svg"')
    assert told.status == 0, told.err
    assert (home / "made" / "net.svg").is_file()
    assert not (tmp_path / "~").exists()


def _published() -> Path:
    from nas.files.shipped import published_genotypes

    return published_genotypes()["squeezenas/lat_small"]
