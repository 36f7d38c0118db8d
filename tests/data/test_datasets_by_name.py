"""DATASETS, build_dataset and conf/data."""

from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf.errors import MissingMandatoryValue

from nas.data import DATASETS, CamVidConfig, CityscapesConfig, FolderConfig, SyntheticConfig, build_dataset
from nas.data.image_folder import IMAGE_DATASETS
from nas.errors import ConfigError, DataError

CONF = Path(__file__).resolve().parents[2] / "conf"
PRESETS = {"kitti", "bdd100k"}


def test_every_dataset_has_a_yaml_and_the_reverse():
    assert {path.stem for path in (CONF / "data").glob("*.yaml")} == DATASETS.keys() | IMAGE_DATASETS.keys() | PRESETS


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_are_of_the_folder_data_set_and_need_a_root(compose_data, preset):
    with pytest.raises(MissingMandatoryValue, match="root"):
        compose_data(preset)
    assert isinstance(compose_data(preset, "data.root=/x"), FolderConfig)


def test_synthetic_yaml_is_the_dataclass(compose_data):
    assert compose_data("synthetic") == SyntheticConfig()


def test_camvid_yaml_needs_a_root(compose_data):
    with pytest.raises(MissingMandatoryValue, match="root"):
        compose_data("camvid")
    config = compose_data("camvid", "data.root=/x", "data.size=[180,240]")
    assert config == CamVidConfig(root="/x", size=[180, 240])


def test_cityscapes_and_folder_yaml_are_the_dataclasses(compose_data):
    assert compose_data("cityscapes", "data.root=/x") == CityscapesConfig(root="/x")
    assert compose_data("folder", "data.root=/x", "data.holdout=3") == FolderConfig(root="/x", holdout=3)


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
