"""KITTI and BDD100K, which are presets of data=folder."""

import numpy as np
import pytest
from PIL import Image

from nas.data import build_dataset
from nas.data.classes.cityscapes_labels import CITYSCAPES, LABEL_IDS
from nas.errors import DataError
from tests.label_trees import blocks, noise, save

OLDER = ["data.images=seg/images/SPLIT", "data.masks=seg/labels/SPLIT", "data.mask_suffix=_train_id.png"]


def names(data):
    return [data.name(index) for index in range(len(data))]


@pytest.fixture
def kitti(tmp_path):
    """Eleven frames of KITTI semantics; two of another size, as there are."""
    for number in range(11):
        size = (37, 124) if number % 5 else (36, 120)
        save(tmp_path / f"training/image_2/{number:06d}_10.png", noise(number, size))
        save(tmp_path / f"training/semantic/{number:06d}_10.png", blocks(number, range(34), size))
        save(tmp_path / f"training/semantic_rgb/{number:06d}_10.png", noise(number, size))
        save(tmp_path / f"training/instance/{number:06d}_10.png", noise(number, size))
        save(tmp_path / f"testing/image_2/{number:06d}_10.png", noise(number, size))
    return tmp_path


def test_kitti(kitti, compose_data):
    config = compose_data("kitti", f"data.root={kitti}")
    assert config.size == [375, 1242]
    val, train = build_dataset(config, "val"), build_dataset(config, "train")
    for data in (val, train):
        data.scan()
    assert names(val) == ["000000_10", "000005_10", "000010_10"]
    assert len(train) == 8
    assert val.classes == CITYSCAPES.names
    stored = np.asarray(Image.open(kitti / "training/semantic/000005_10.png"))
    np.testing.assert_array_equal(val.truth(1), np.vectorize(LABEL_IDS.get)(stored))
    assert val.load(1)[1].shape == (375, 1242)
    with pytest.raises(DataError, match=r"data\.test is null.*set split= to train or val"):
        build_dataset(config, "test")
    assert len(build_dataset(compose_data("kitti", f"data.root={kitti}", "data.holdout=2"), "val")) == 6


def _bdd(root, images, masks, suffix):
    for split in ("train", "val", "test"):
        for number in range(2):
            save(root / images / split / f"{split}-{number}.jpg", noise(number))
            if split != "test":
                save(root / masks / split / f"{split}-{number}{suffix}", blocks(number, [*range(19), 255]))
    return root


@pytest.mark.parametrize(
    ("layout", "overrides"),
    [
        (("images/10k", "labels/sem_seg/masks", ".png"), []),
        (("seg/images", "seg/labels", "_train_id.png"), OLDER),
    ],
    ids=["present", "older"],
)
def test_bdd100k(tmp_path, compose_data, layout, overrides):
    _bdd(tmp_path, *layout)
    config = compose_data("bdd100k", f"data.root={tmp_path}", *overrides)
    for split in ("train", "val"):
        data = build_dataset(config, split)
        data.scan()
        assert names(data) == [f"{split}-0", f"{split}-1"]
        stored = np.asarray(Image.open(tmp_path / layout[1] / split / f"{split}-1{layout[2]}"))
        np.testing.assert_array_equal(data.load(1)[1], stored)
    assert data.classes == CITYSCAPES.names
    with pytest.raises(DataError, match=r"data\.test is null"):
        build_dataset(config, "test")


def test_bdd100k_with_label_ids_is_refused(tmp_path, compose_data):
    _bdd(tmp_path, "images/10k", "labels/sem_seg/masks", ".png")
    save(tmp_path / "labels/sem_seg/masks/val/val-0.png", np.full((24, 32), 26))
    with pytest.raises(DataError, match=r"unknown label id 26 .*set data\.classes=cityscapes"):
        build_dataset(compose_data("bdd100k", f"data.root={tmp_path}"), "val").scan()
