"""The data set of a run: the config that its config.yaml states, and what is said where there is none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.data.folder import FolderConfig
from nas.data.image_folder import ImageFolderConfig
from nas.data.synthetic import SyntheticConfig
from nas.errors import ConfigError, DataError
from nas.runs.run_data import check_root, data_of, run_of


def write_config(run: Path, data: Any) -> Path:
    settings = dataclasses.asdict(data) if dataclasses.is_dataclass(data) and not isinstance(data, type) else data
    (run / "config.yaml").write_text(yaml.safe_dump({"verb": "train", "data": settings}))
    return run


@pytest.mark.parametrize("config", [SyntheticConfig(size=[48, 64], every=3), FolderConfig(root="x", holdout=4, test=None)])
def test_config_of_a_run_is_the_one_it_was_given(tmp_path, config):
    assert data_of(write_config(tmp_path, config)) == config


@pytest.mark.parametrize("name", ["weights.safetensors", "checkpoints/best.pt"])
def test_weights_and_checkpoints_lie_in_their_run(name):
    assert run_of(Path("runs/a") / name) == Path("runs/a")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": ["folder"]}, r"config.yaml: data.name: got \['folder'\], expected"),
        (None, "config.yaml: data: got None, expected a mapping"),
        ({"name": "nowhere"}, "config.yaml: data.name: got 'nowhere'"),
        ({"name": "synthetic", "colour": 1}, "config.yaml: data: .*unexpected keyword argument 'colour'"),
        (ImageFolderConfig(root="x"), "was trained on data=image_folder, which has classes of whole images"),
    ],
)
def test_a_run_without_labels_of_pixels_is_refused(tmp_path, data, message):
    with pytest.raises(ConfigError, match=message):
        data_of(write_config(tmp_path, data))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"data is missing, and there is no .*config\.yaml of a run to take it from; give data="):
        data_of(tmp_path)


def test_data_that_have_moved_are_refused_with_the_key_to_give(tmp_path):
    check_root(SyntheticConfig(), tmp_path)
    check_root(FolderConfig(root=str(tmp_path)), tmp_path)
    with pytest.raises(DataError, match=r"data\.root: got .*gone from .*config\.yaml, and .*; give data\.root=FOLDER"):
        check_root(FolderConfig(root=str(tmp_path / "gone")), tmp_path)


def test_a_relative_folder_of_a_run_that_lies_elsewhere_is_told(tmp_path, monkeypatch, caplog):
    run, here = tmp_path / "there" / "run", tmp_path / "here"
    for place in (run, tmp_path / "there" / "data", here / "data"):
        place.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "there")
    check_root(FolderConfig(root="data"), run)
    check_root(FolderConfig(root="data"), Path("run"))
    monkeypatch.chdir(here)
    check_root(FolderConfig(root=str(here / "data")), run)
    assert not caplog.records
    check_root(FolderConfig(root="data"), run)
    (told,) = (record.getMessage() for record in caplog.records)
    assert told.startswith(f"data.root: got data from {run / 'config.yaml'}, which is {here / 'data'} here; give data.root=FOLDER")
