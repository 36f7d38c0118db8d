"""Layouts that people have and the settings that are named for them: what a message says to type makes it work."""

import re
import shlex

import pytest
import yaml

from nas.data import build_dataset, config_from_plain
from nas.errors import ConfigError, DataError
from tests.label_trees import CLASSES, IDS, blocks, noise, save


def write(root, images, masks, splits=("train", "val", "test"), num=3):
    """Images and masks by patterns of SPLIT and NAME."""
    root.mkdir(exist_ok=True)
    (root / "classes.yaml").write_text(CLASSES)
    for offset, split in enumerate(splits):
        for number in range(num):
            seed = 10 * offset + number
            for pattern, pixels in ((images, noise(seed)), (masks, blocks(seed, IDS))):
                save(root / pattern.replace("SPLIT", split).replace("NAME", f"f{seed}"), pixels)
    return root


def dataset(root, split="train", **settings):
    return build_dataset(config_from_plain({"name": "folder", "root": str(root), **settings}), split)


def fault(root, split="train", **settings):
    with pytest.raises(DataError) as caught:
        dataset(root, split, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def settings_of(message):
    """The settings that a message says to set, as its reader would type them."""
    words = [word.rstrip(",") for word in shlex.split(message.rpartition("set ")[2])]
    return {key: yaml.safe_load(value) for key, value in (word[len("data.") :].split("=", 1) for word in words if "=" in word)}


LAYOUTS = {
    "Roboflow": ("SPLIT/NAME.jpg", "SPLIT/NAME_mask.png", "train valid test"),
    "folders of splits": ("SPLIT/images/NAME.png", "SPLIT/masks/NAME.png", "train val test"),
    "folders of splits with labels": ("SPLIT/images/NAME.jpg", "SPLIT/labels/NAME.png", "training validation testing"),
    "labels in place of masks": ("images/SPLIT/NAME.jpg", "labels/SPLIT/NAME.png", "train val test"),
    "no splits": ("images/NAME.jpg", "masks/NAME.png", "all"),
    "no folders": ("NAME.jpg", "NAME_mask.png", "all"),
}
NO_SPLITS = ("no splits", "no folders")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_settings_of_layouts_are_named_and_work(tmp_path, layout):
    images, masks, splits = LAYOUTS[layout]
    write(tmp_path, images, masks, splits.split(), num=7)
    settings = {}
    for split in ("train", "val") if layout in NO_SPLITS else ("train", "val", "test"):
        for _ in range(3):
            try:
                data = dataset(tmp_path, split, **settings)
                break
            except DataError as error:
                settings |= settings_of(str(error))
        data.scan()
        assert len(data) == {"train": 5, "val": 2}[split] if layout in NO_SPLITS else 7
    assert settings


@pytest.mark.parametrize("ending", [".txt", ".csv"])
def test_lists_in_the_root_are_named_where_there_are_no_folders_of_splits(tmp_path, ending):
    write(tmp_path, "photos/NAME.jpg", "labels/NAME.png", splits=["all"])
    (tmp_path / f"training{ending}").write_text("photos/f0.jpg,labels/f0.png\nphotos/f1.jpg,labels/f1.png\n")
    asked = settings_of(fault(tmp_path))
    assert asked == {"lists": f"SPLIT{ending}", "train": "training"}
    assert len(dataset(tmp_path, **asked)) == 2


@pytest.mark.parametrize("settings", [{"mask_suffix": "_mask.png"}, {"image_suffix": ".jpg", "mask_suffix": "_mask.png"}])
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_images_and_masks_of_one_folder_are_told_by_their_suffixes(tmp_path, settings, kind):
    write(tmp_path, f"SPLIT/NAME.{kind}", "SPLIT/NAME_mask.png")
    (tmp_path / "train/_classes.csv").write_text("")
    if "image_suffix" in settings:
        settings = settings | {"image_suffix": f".{kind}"}
    data = dataset(tmp_path, images="SPLIT", masks="SPLIT", **settings)
    data.scan()
    assert [data.name(index) for index in range(len(data))] == ["f0", "f1", "f2"]
    assert list(data.passed_over.examples.values()) == [(str(tmp_path / "train/_classes.csv"),)]


def test_images_with_masks_beside_them_in_a_folder_below_are_told_apart(tmp_path):
    write(tmp_path, "SPLIT/NAME.png", "SPLIT/masks/NAME.png")
    data = dataset(tmp_path, images="SPLIT", masks="SPLIT/masks")
    assert len(data) == 3
    assert not data.passed_over
    write(tmp_path / "again", "SPLIT/images/NAME.png", "SPLIT/NAME.png")
    assert len(dataset(tmp_path / "again", images="SPLIT/images", masks="SPLIT")) == 3


@pytest.mark.parametrize("masks", ["train", "masks/train"])
def test_roboflow_with_other_settings_names_both_suffixes(tmp_path, masks):
    write(tmp_path, "SPLIT/NAME.jpg", "SPLIT/NAME_mask.png")
    expected = "set data.images=SPLIT data.masks=SPLIT data.image_suffix=.jpg data.mask_suffix=_mask.png"
    assert fault(tmp_path, images="SPLIT", masks=masks).endswith(expected)
    assert fault(tmp_path, images="SPLIT", masks=masks, image_suffix=".tif").endswith(expected)


def test_one_suffix_for_both_in_one_folder_is_refused(tmp_path):
    write(tmp_path, "SPLIT/NAME.png", "SPLIT/NAME_mask.png")
    with pytest.raises(ConfigError, match=r"data\.image_suffix: got \.png as data\.mask_suffix, and .* holds images and masks"):
        dataset(tmp_path, images="SPLIT", masks="SPLIT", image_suffix=".png")


def test_a_missing_mask_in_a_folder_of_both_is_no_matter_of_settings(tmp_path):
    write(tmp_path, "SPLIT/NAME.jpg", "SPLIT/NAME_mask.png")
    (tmp_path / "train/f1_mask.png").unlink()
    settings = {"images": "SPLIT", "masks": "SPLIT", "image_suffix": ".jpg", "mask_suffix": "_mask.png"}
    message = fault(tmp_path, **settings)
    assert message.startswith(f"{tmp_path / 'train/f1.jpg'}: no label, expected {tmp_path / 'train/f1_mask.png'}; restore it")


@pytest.mark.parametrize(
    ("mask", "asked"),
    [
        ("masks/SPLIT/NAME_gt.png", "if {root}/masks/train/f0_gt.png is its mask, set data.mask_suffix=_gt.png"),
        ("masks/SPLIT/NAME.tif", "if f0.tif is its mask, set data.mask_suffix=.tif"),
        ("masks/SPLIT/other_NAME_0.png", "restore it or remove the image"),
        (
            "masks/SPLIT/m_NAME.png",
            "if {root}/masks/train/m_f0.png is its label, rename it: the two may differ in their ends alone",
        ),
        ("masks/SPLIT/deep/NAME.png", "{root}/masks/train/deep/f0.png lies in another folder: put both at the same place"),
    ],
)
def test_masks_of_other_names_are_explained(tmp_path, mask, asked):
    write(tmp_path, "images/SPLIT/NAME.jpg", mask)
    message = fault(tmp_path)
    assert message.startswith(f"{tmp_path}/images/train/f0.jpg: no label (nor 2 more), expected {tmp_path}/masks/train/f0.png;")
    assert message.endswith(asked.format(root=tmp_path))
    if "data.mask_suffix" in message:
        assert len(dataset(tmp_path, **settings_of(message))) == 3


def test_names_that_differ_in_leading_zeros_are_explained(tmp_path):
    write(tmp_path, "images/SPLIT/NAME.jpg", "masks/SPLIT/NAME.png")
    (tmp_path / "masks/train/f1.png").rename(tmp_path / "masks/train/f001.png")
    assert fault(tmp_path).endswith("masks/train/f001.png differs in leading zeros: give both the same name")


def test_a_missing_validation_folder_names_holdout_or_its_other_name(tmp_path):
    write(tmp_path, "images/SPLIT/NAME.png", "masks/SPLIT/NAME.png", ["train"])
    message = fault(tmp_path, "val")
    assert message.startswith(f"{tmp_path}/images/val: no such folder, expected the val images;")
    assert "set data.holdout=5 to validate on every fifth training image, or correct" in message
    assert len(dataset(tmp_path, "val", holdout=2)) == 2
    message = fault(tmp_path, "val", val=None)
    assert re.search(r"data\.val is null.*; set data\.holdout=5 to validate on every fifth training image, or split= to", message)
    write(tmp_path, "images/SPLIT/NAME.png", "masks/SPLIT/NAME.png", ["valid"])
    assert fault(tmp_path, "val").endswith("expected the val images; set data.val=valid")


def test_a_root_that_is_one_folder_too_high_is_named(tmp_path):
    write(tmp_path / "unpacked", "images/SPLIT/NAME.png", "masks/SPLIT/NAME.png")
    assert fault(tmp_path).endswith(f"expected the train images; set data.root={tmp_path / 'unpacked'}")
    (tmp_path / "unpacked/train.txt").write_text("f0\n")
    assert fault(tmp_path, lists="SPLIT.txt").endswith(f"set data.root={tmp_path / 'unpacked'}")


def test_folders_in_capital_letters_are_named(tmp_path):
    write(tmp_path, "Images/SPLIT/NAME.png", "masks/SPLIT/NAME.png")
    assert fault(tmp_path).endswith(f"; {tmp_path / 'Images/train'} is there: correct capital letters")
