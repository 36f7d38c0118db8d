import logging

import numpy as np
import pytest

from nas.data import build_dataset
from nas.data.batches.held_out import Part, hold_out
from nas.data.files.passed_over import HIDDEN, PassedOver
from nas.data.folder import FolderConfig
from nas.data.image_folder import ImageFolderConfig, build_image_folder
from nas.data.split_scan import scan_image_folders, scan_split, scan_splits
from nas.data.synthetic import SyntheticConfig
from nas.errors import DataError
from tests.image_folders import write_colours
from tests.label_trees import SIZE, blocks, save, write_folder


def splits(config):
    return build_dataset(config, "train"), build_dataset(config, "val")


@pytest.fixture
def said(caplog):
    """Lines of the logger with their levels, since the last call."""
    caplog.set_level(logging.INFO, logger="nas")

    def take():
        lines = [(record.levelname, record.getMessage()) for record in caplog.records]
        caplog.clear()
        return lines

    return take


def test_the_images_of_each_split_and_their_size_are_said(said):
    train_set, val_set = splits(SyntheticConfig(train=5, val=2, size=[24, 32]))
    scan_splits(train_set, val_set, crop=None, key="train.crop")
    assert said() == [("INFO", "data: train 5 images of 24x32, val 2")]
    scan_splits(train_set, val_set, crop=None, key="search.crop", parts=hold_out(train_set, share=0.4, seed=0))
    assert said() == [("INFO", "data: train 5 images of 24x32 (2 of them held out for the architecture), val 2")]
    scan_split(build_dataset(SyntheticConfig(test=1, size=[24, 32]), "test"))
    assert said() == [("INFO", "data: test 1 image of 24x32")]


def test_a_validation_split_of_another_size_has_it_said(said):
    train_set, _ = splits(SyntheticConfig(train=5, val=2, size=[24, 32]))
    _, val_set = splits(SyntheticConfig(train=5, val=2, size=[16, 16]))
    scan_splits(train_set, val_set, crop=None, key="train.crop")
    assert said() == [("INFO", "data: train 5 images of 24x32, val 2 images of 16x16")]


def test_what_is_passed_over_is_said_once_for_splits_of_one_folder(said):
    train_set, val_set = splits(SyntheticConfig(train=5, val=2, size=[24, 32]))
    train_set.passed_over = val_set.passed_over = PassedOver.of({"images/.a": HIDDEN})
    scan_splits(train_set, val_set, crop=None, key="train.crop")
    assert said()[1:] == [("INFO", "data: train and val: passed over: 1 hidden (images/.a)")]
    val_set.passed_over = PassedOver.of({"images/.b": HIDDEN})
    scan_splits(train_set, val_set, crop=None, key="train.crop")
    assert [line for _, line in said()[1:]] == [
        "data: train: passed over: 1 hidden (images/.a)",
        "data: val: passed over: 1 hidden (images/.b)",
    ]


def test_a_crop_that_is_mostly_padding_is_warned_of(said):
    train_set, val_set = splits(SyntheticConfig(train=2, val=1, size=[24, 32]))
    scan_splits(train_set, val_set, crop=[24, 32], key="search.crop")
    assert len(said()) == 1
    scan_splits(train_set, val_set, crop=[192, 256], key="search.crop")
    level, line = said()[1]
    assert level == "WARNING"
    assert line.startswith("search.crop: got [192,256] for images of 24x32, which leaves 97.3 % of a crop to padding on average")
    assert line.endswith("set search.crop=[24,32] or smaller")


def test_labels_of_both_splits_are_checked_each_for_its_purpose(tmp_path, said):
    write_folder(tmp_path)
    for number in range(3):
        save(tmp_path / "masks" / "val" / f"f{number}.png", np.zeros(SIZE))
    train_set, val_set = splits(FolderConfig(root=str(tmp_path)))
    scan_splits(train_set, val_set, crop=None, key="train.crop")
    ((level, line),) = said()[1:]
    assert level == "WARNING"
    assert "mIoU is that of road alone" in line
    with pytest.raises(DataError, match="expected pixels of at least two classes"):
        scan_splits(val_set, train_set, crop=None, key="train.crop")


def test_images_of_classes_are_counted(tmp_path, said):
    config = ImageFolderConfig(root=str(write_colours(tmp_path, 3, {"train": 2, "val": 1})))
    scan_image_folders(build_image_folder(config, "train"), build_image_folder(config, "val"))
    assert said() == [("INFO", "data: train 6 images, val 3, of 3 classes")]


@pytest.mark.parametrize(("void", "purpose"), [(0, "left for the weights"), (1, "held out for the architecture")])
def test_a_part_of_the_training_split_without_a_label_is_refused(tmp_path, void, purpose):
    write_folder(tmp_path)
    for number in (1, 2):
        save(tmp_path / "masks" / "train" / f"f{number}.png", np.full(SIZE, 255))
    train_set, val_set = splits(FolderConfig(root=str(tmp_path)))
    labelled, empty = Part(train_set, [0]), Part(train_set, [1, 2])
    parts = (empty, labelled) if void == 0 else (labelled, empty)
    with pytest.raises(DataError, match=f"search.holdout: every pixel of the 2 training labels {purpose} is void, expected"):
        scan_splits(train_set, val_set, crop=None, key="search.crop", parts=parts)


VERBS = {
    "search": ["latency.table=none"],
    "search with a plan": ["latency.table=none", "plan=true"],
    "train": ["genotype=squeezenas/lat_small"],
}


@pytest.mark.parametrize("name", list(VERBS))
def test_masks_of_0_and_255_stop_a_run_before_its_first_step(tmp_path, run_nas, name):
    write_folder(tmp_path / "data")
    (tmp_path / "data" / "classes.yaml").write_text("classes: [background, target]\n")
    for split in ("train", "val"):
        for number in range(3):
            save(tmp_path / "data" / "masks" / split / f"f{number}.png", blocks(number, [0, 255]))
    outcome = run_nas(name.split()[0], "data=folder", "data.root=data", "out=run", *VERBS[name])
    assert outcome.status == 2
    assert "data: train 3 images of 24x32, val 3" in outcome.out.splitlines()
    (line,) = outcome.err_lines
    assert "have pixels of background alone" in line
    assert 'write classes: [{name: "background", id: 0}, {name: "target", id: 255}] in data/classes.yaml' in line
    assert not (tmp_path / "run").exists()


def test_the_images_held_out_of_a_bilevel_search_are_counted(tmp_path, run_nas):
    write_folder(tmp_path / "data", num=5)
    arguments = ["data=folder", "data.root=data", "search.level=bilevel", "search.holdout=0.4", "latency.table=nowhere.json"]
    outcome = run_nas("search", *arguments)
    assert outcome.status == 2
    assert "data: train 5 images of 24x32 (2 of them held out for the architecture), val 5" in outcome.out.splitlines()
