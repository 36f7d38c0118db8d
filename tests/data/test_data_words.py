"""The words that choose a data set: they compose to the very config they were made from."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from nas.data.data_words import data_words
from tests.data_kinds import KINDS, words_of

CHANGES = {
    "synthetic": ["data.seed=3", "data.every=2"],
    "camvid": ["data.cache=false", "data.size=[48,64]"],
    "cityscapes": ["data.labels=coarse", "data.train_folders=[train,train_extra]"],
    "folder": ["data.holdout=2", "data.image_suffix=_rgb.png", "data.val=null", "data.classes='my classes, 2.yaml'"],
    "kitti": ["data.size=null"],
    "bdd100k": ["data.mask_suffix=_train_id.png", "data.workers=1"],
}


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_words_make_the_same_config_again(compose_data, tmp_path: Path, kind: str, changed: bool) -> None:
    config = compose_data(kind, *words_of(kind, tmp_path / "a b")[1:], *(CHANGES[kind] if changed else []))
    first, *words = shlex.split(" ".join(data_words(config)))
    assert compose_data(first.removeprefix("data="), *words) == config
