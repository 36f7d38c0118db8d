"""DATASETS, build_dataset and conf/data."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue

from nas.data import DATASETS, CamVidConfig, SyntheticConfig, build_dataset
from nas.errors import ConfigError, DataError

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture
def compose_data():
    """Compose `data=NAME` with overrides, as the command line does."""
    for name, entry in DATASETS.items():
        ConfigStore.instance().store(group="data", name=f"schema_{name}", node=entry.config)

    def run(name, *overrides):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose(overrides=[f"+data={name}", *overrides]).data

    return run


def test_every_dataset_has_a_yaml_and_the_reverse():
    assert {path.stem for path in (CONF / "data").glob("*.yaml")} == DATASETS.keys()


def test_synthetic_yaml_is_the_dataclass(compose_data):
    assert OmegaConf.to_object(compose_data("synthetic")) == SyntheticConfig()


def test_camvid_yaml_needs_a_root(compose_data):
    with pytest.raises(MissingMandatoryValue, match="root"):
        OmegaConf.to_object(compose_data("camvid"))
    config = OmegaConf.to_object(compose_data("camvid", "data.root=/x", "data.size=[180,240]"))
    assert config == CamVidConfig(root="/x", size=[180, 240])


@pytest.mark.parametrize("override", ["data.colour=1", "data.size=big", "data.train=many"])
def test_unknown_keys_and_wrong_types_are_refused_while_composing(compose_data, override):
    with pytest.raises(ConfigCompositionException):
        compose_data("synthetic", override)


def test_an_unknown_split_lists_the_known_ones():
    with pytest.raises(DataError, match="got 'valid', expected one of train, val, test"):
        build_dataset(SyntheticConfig(), "valid")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="got 'cityscape', expected one of synthetic, camvid"):
        build_dataset(SyntheticConfig(name="cityscape"), "train")


def test_a_name_with_the_settings_of_another_is_refused():
    with pytest.raises(ConfigError, match="set data=camvid"):
        build_dataset(SyntheticConfig(name="camvid"), "train")
