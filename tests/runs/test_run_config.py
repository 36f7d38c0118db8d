from __future__ import annotations

from dataclasses import asdict

import pytest
import yaml

from nas.config.jobs import SearchJob, TrainJob
from nas.config.settings import SearchSettings
from nas.data.folder import FolderConfig
from nas.errors import ConfigError
from nas.runs import run_config
from search_spaces.lgcnet.config import LGCNetConfig


def search_job(**settings):
    return SearchJob(**{"space": LGCNetConfig(num_cells=14), "data": LGCNetConfig(), **settings})


def test_config_is_plain_yaml_that_reads_back_with_the_verb(tmp_path):
    run_config.write_config(tmp_path, search_job(search=SearchSettings(arch_lr=1e-5, crop=[64, 96])), "search")
    text = (tmp_path / "config.yaml").read_text()
    assert "!!" not in text
    settings = run_config.load_config(tmp_path)
    assert settings == yaml.safe_load(text) == run_config.load_config(tmp_path / "config.yaml")
    assert (settings["verb"], settings["space"]["name"], settings["search"]["arch_lr"]) == ("search", "lgcnet", 1e-5)
    assert settings["search"]["crop"] == [64, 96]
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "no such file"), ("a: [", "cannot be read as YAML"), ("- 1", "no settings of a run"), ("a: 1", "key verb")],
)
def test_broken_config_is_named(tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        run_config.load_config(tmp_path)
    assert str(tmp_path / "config.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "verb: &a train\ndata: *a",
        "verb: [train]",
        "verb: 2026-01-01",
        "verb: train\ndata: x",
        "verb: train\nverb: train",
        "verb: !!python/name:os.system x",
        f"verb: {'[' * 50}",
    ],
)
def test_settings_are_read_strictly(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match="config.yaml: "):
        run_config.load_config(tmp_path)


def test_settings_that_expand_without_end_are_refused_at_once(tmp_path):
    lines = ["verb: train", "a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30)]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="line 2: got an anchor or alias"):
        run_config.load_config(tmp_path)


def test_settings_that_may_change_are_settings():
    settings = [asdict(search_job()), asdict(TrainJob(genotype="g", data=FolderConfig(root="r")))]
    keys = {key for job in settings for key in job} | {
        f"{section}.{key}" for job in settings for section, keys in job.items() if isinstance(keys, dict) for key in keys
    }
    assert keys >= run_config.MAY_CHANGE


def test_values_of_other_settings_are_cut_in_messages(tmp_path):
    run_config.write_config(tmp_path, search_job(), "search")
    with (tmp_path / "config.yaml").open("a") as file:
        file.writelines(f"k{n}: '{'x' * 500}'\n" for n in range(50))
    with pytest.raises(ConfigError, match="and 30 more;") as caught:
        run_config.check_same(tmp_path, "search", search_job())
    assert len(str(caught.value)) < 20 * 260
