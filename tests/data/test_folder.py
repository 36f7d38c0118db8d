"""data=folder in its layouts, and KITTI and BDD100K, which are presets of it."""

import numpy as np
import pytest
from PIL import Image

from nas.data import build_dataset
from nas.data.classes.cityscapes_labels import CITYSCAPES, LABEL_IDS
from nas.data.folder import FolderConfig
from nas.errors import ConfigError, DataError
from tests.label_trees import CLASSES, blocks, noise, save, write_folder


def dataset(root, split="train", **settings):
    return build_dataset(FolderConfig(root=str(root), **settings), split)


def names(data):
    return [data.name(index) for index in range(len(data))]


def fault(root, split="train", **settings):
    with pytest.raises((DataError, ConfigError)) as caught:
        dataset(root, split, **settings).scan()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_ids_become_classes_and_ignored_ids_void(tmp_path):
    data = dataset(write_folder(tmp_path), "val")
    stored = np.asarray(Image.open(tmp_path / "masks/val/f1.png"))
    assert set(np.unique(stored)) == {0, 1, 4, 5, 9, 255}
    np.testing.assert_array_equal(
        data.load(1)[1], np.select([stored == 0, np.isin(stored, [1, 5]), stored == 9], [0, 1, 2], default=255)
    )
    np.testing.assert_array_equal(data.load(1)[0], np.asarray(Image.open(tmp_path / "images/val/f1.png")))
    assert data.classes == ("road", "car", "tree")
    assert data.palette[0].tolist() == [9, 8, 7]


def test_colour_masks(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "classes.yaml").write_text(
        "classes: [{name: a, colour: [255, 0, 0]}, {name: b, colour: [0, 0, 255]}]\nignore: [[0, 0, 0]]"
    )
    choice = blocks(0, [0, 1, 2])
    colours = np.array([[255, 0, 0], [0, 0, 255], [0, 0, 0]])
    for number in range(3):
        save(tmp_path / f"masks/train/f{number}.png", colours[choice])
    data = dataset(tmp_path)
    data.scan()
    np.testing.assert_array_equal(data.load(0)[1], np.array([0, 1, 255])[choice])
    bad = colours[choice]
    bad[0, 0] = [255, 0, 1]
    save(tmp_path / "masks/train/f2.png", bad)
    message = fault(tmp_path)
    assert message.startswith(f"{tmp_path / 'masks/train/f2.png'}: unknown label colour [255, 0, 1] (1 pixels)")
    assert f"add it to a class or to ignore: in {tmp_path / 'classes.yaml'}" in message


def test_an_unknown_id_names_mask_id_and_fix(tmp_path):
    write_folder(tmp_path)
    save(tmp_path / "masks/train/f1.png", np.full((24, 32), 3))
    message = fault(tmp_path)
    assert message.startswith(f"{tmp_path / 'masks/train/f1.png'}: unknown label id 3 (768 pixels), expected 0-1, 4-5, 9, 255;")
    assert message.endswith(f"add it to a class or to ignore: in {tmp_path / 'classes.yaml'}, or correct the mask")


def test_jpeg_images_with_png_masks_below_folders_of_folders(tmp_path):
    (tmp_path / "classes.yaml").write_text("classes: [a, b]")
    for town in ("x", "y"):
        save(tmp_path / f"images/train/{town}/1.JPG", noise(0))
        save(tmp_path / f"masks/train/{town}/1.png", blocks(0, [0, 1]))
    data = dataset(tmp_path)
    data.scan()
    assert names(data) == ["x_1", "y_1"]


def test_names_that_folders_make_equal_are_refused(tmp_path):
    (tmp_path / "classes.yaml").write_text("classes: [a, b]")
    for stem in ("x/1", "x_1"):
        save(tmp_path / f"images/train/{stem}.png", noise(0))
        save(tmp_path / f"masks/train/{stem}.png", blocks(0, [0, 1]))
    assert "same name as" in fault(tmp_path)


def test_folders_and_suffixes_can_be_renamed(tmp_path):
    (tmp_path / "my_classes.yaml").write_text(CLASSES)
    for number in range(2):
        save(tmp_path / f"training/rgb/{number}_rgb.png", noise(number))
        save(tmp_path / f"training/rgb/{number}_depth.png", noise(number))
        save(tmp_path / f"training/gt/{number}_ids.png", blocks(number, [0, 1]))
        save(tmp_path / f"training/gt/{number}_colour.png", noise(number))
    settings = {"images": "SPLIT/rgb", "masks": "SPLIT/gt", "image_suffix": "_rgb.png", "mask_suffix": "_ids.png"}
    data = dataset(tmp_path, train="training", classes="my_classes.yaml", **settings)
    data.scan()
    assert names(data) == ["0", "1"]


def damage(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("kind", ["images", "masks"])
def test_damage_inside_a_png_is_found_by_the_scan(tmp_path, kind, cache):
    path = write_folder(tmp_path) / kind / "train/f1.png"
    damage(path, path.stat().st_size - 13)  # the last byte of the pixels' checksum, which decoders pass over
    np.asarray(Image.open(path))
    assert fault(tmp_path, cache=cache).startswith(f"{path}: unreadable or truncated (the checksum of the chunk 'IDAT' is wrong)")


def test_a_full_scan_finds_damage_between_the_ends_of_a_jpeg(tmp_path):
    path = write_folder(tmp_path) / "images/train/f1.jpg"
    (tmp_path / "images/train/f1.png").unlink()
    save(path, noise(1))
    content = path.read_bytes()
    middle = (content.index(b"\xff\xda") + len(content)) // 2
    path.write_bytes(content[:middle] + b"\xff\xc4\x00\x03\x00" + content[middle:])
    dataset(tmp_path).scan()
    assert fault(tmp_path, full_scan=True).startswith(f"{path}: unreadable or truncated (broken data stream")


def test_lossy_masks_are_refused_though_their_suffix_is_as_set(tmp_path):
    write_folder(tmp_path)
    for path in (tmp_path / "masks/train").iterdir():
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    assert f"{tmp_path / 'masks/train/f0.jpg'}: the mask is stored as JPEG" in fault(tmp_path, mask_suffix=".jpg")


def test_image_and_mask_may_share_a_folder(tmp_path):
    (tmp_path / "classes.yaml").write_text(CLASSES)
    for number in range(2):
        save(tmp_path / f"train/{number}.jpg", noise(number))
        save(tmp_path / f"train/{number}_mask.png", blocks(number, [0, 1]))
    data = dataset(tmp_path, images="SPLIT", masks="SPLIT", image_suffix=".jpg", mask_suffix="_mask.png")
    data.scan()
    assert names(data) == ["0", "1"]


def test_classes_may_lie_elsewhere(tmp_path):
    write_folder(tmp_path / "data")
    (tmp_path / "data/classes.yaml").rename(tmp_path / "mine.yaml")
    assert len(dataset(tmp_path / "data", classes=str(tmp_path / "mine.yaml"))) == 3
    assert "no such file, expected a YAML file of classes" in fault(tmp_path / "data")


@pytest.mark.parametrize(
    "lines", ["images/train/f2.png masks/train/f2.png\nimages/train/f0.png masks/train/f0.png\n", "f2\n\nf0.png\n"]
)
def test_lists_choose_the_images(tmp_path, lines):
    write_folder(tmp_path)
    (tmp_path / "train.txt").write_text(lines)
    data = dataset(tmp_path, lists="SPLIT.txt")
    data.scan()
    assert [name[-2:] for name in names(data)] == ["f0", "f2"]
    np.testing.assert_array_equal(data.load(1)[0], np.asarray(Image.open(tmp_path / "images/train/f2.png")))
    np.testing.assert_array_equal(data.truth(1), dataset(tmp_path).truth(2))


def test_lists_over_one_folder_for_all_splits(tmp_path):
    (tmp_path / "classes.yaml").write_text(CLASSES)
    for number in range(4):
        save(tmp_path / f"JPEGImages/{number}.jpg", noise(number))
        save(tmp_path / f"SegmentationClass/{number}.png", blocks(number, [0, 1]))
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/train.txt").write_text("0\n3\n")
    (tmp_path / "sets/val.txt").write_text("2\n")
    settings = {"images": "JPEGImages", "masks": "SegmentationClass", "lists": "sets/SPLIT.txt"}
    assert names(dataset(tmp_path, "train", **settings)) == ["0", "3"]
    assert names(dataset(tmp_path, "val", **settings)) == ["2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f0 f1 f2\n", "train.txt:1: got 3 fields"),
        ("f0\nf9\n", "train.txt:2: no image f9 in"),
        ("images/train/f0.png masks/train/f9.png\n", "masks/train/f9.png: no such file"),
        ("f0\nf0\n", "same name as"),
        ("\n\n", "train.txt: lists no image"),
    ],
)
def test_what_is_wrong_in_a_list_is_named(tmp_path, text, message):
    write_folder(tmp_path)
    (tmp_path / "train.txt").write_text(text)
    assert message in fault(tmp_path, lists="SPLIT.txt")


def test_a_missing_list_is_named(tmp_path):
    assert "train.txt: unreadable" in fault(write_folder(tmp_path), lists="SPLIT.txt")


def test_a_split_without_masks_is_named(tmp_path):
    write_folder(tmp_path)
    for path in (tmp_path / "masks/test").iterdir():
        path.unlink()
    (tmp_path / "masks/test").rmdir()
    message = fault(tmp_path, "test")
    assert message.startswith(f"{tmp_path / 'masks/test'}: no such folder, expected the masks of")
    assert "split=val" in message


def test_a_split_that_is_not_there_by_setting_is_named(tmp_path):
    assert "data.test is null: this data set has no such split with masks; set split= to train or val" in fault(
        write_folder(tmp_path), "test", test=None
    )


@pytest.mark.parametrize("holdout", [2, 3, 5])
def test_holdout_divides_the_training_folder(tmp_path, holdout):
    write_folder(tmp_path, num=11)
    everything = names(dataset(tmp_path))
    val, train = (names(dataset(tmp_path, split, holdout=holdout)) for split in ("val", "train"))
    assert val == everything[::holdout]
    assert sorted(val + train) == sorted(everything)
    assert names(dataset(tmp_path, "test", holdout=holdout)) == everything


@pytest.mark.parametrize("settings", [{"holdout": 1}, {"holdout": -1}, {"mask_suffix": ""}, {"workers": -1}])
def test_bad_settings_are_named(settings):
    with pytest.raises(ConfigError, match=rf"data\.{next(iter(settings))}: got"):
        FolderConfig(root=".", **settings)


def test_holdout_of_a_single_image_is_refused(tmp_path):
    write_folder(tmp_path, num=1)
    assert "expected at least two to divide" in fault(tmp_path, "train", holdout=2)


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


OLDER = ["data.images=seg/images/SPLIT", "data.masks=seg/labels/SPLIT", "data.mask_suffix=_train_id.png"]


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
