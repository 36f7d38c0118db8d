"""data=folder in its layouts."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data import build_dataset
from nas.data.files.passed_over import BROKEN_LINK, HIDDEN, OTHER_KIND, REPEATED_FOLDER
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
    assert "f0.jpg is JPEG, which may change values: export the masks as PNG" in fault(tmp_path)


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
        ("f0\nf0\n", "train.txt:2: "),
        ("\n\n", "train.txt: lists no image"),
    ],
)
def test_what_is_wrong_in_a_list_is_named(tmp_path, text, message):
    write_folder(tmp_path)
    (tmp_path / "train.txt").write_text(text)
    assert message in fault(tmp_path, lists="SPLIT.txt")


def test_a_missing_list_is_named(tmp_path):
    message = fault(write_folder(tmp_path), lists="SPLIT.txt")
    assert message.startswith(f"{tmp_path / 'train.txt'}: no such file, expected the list of the train images; set data.root,")


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


FLAT = {"images": "all/images", "masks": "all/masks"}


@pytest.fixture
def flat(tmp_path):
    """Images and masks of one folder each, in no split."""
    write_folder(tmp_path, num=6)
    for kind in ("images", "masks"):
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / kind / "train").rename(tmp_path / "all" / kind)
    return tmp_path


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_one_folder_is_not_three_splits(flat, split):
    message = fault(flat, split, **FLAT)
    others = "train, val and test" if split == "test" else "train and val"
    assert message.startswith(f"{flat / 'all/images'}: got the same images for {others}, expected each image in one split; set ")
    assert "data.holdout=5" in message
    assert "data.lists=SPLIT.txt" in message


def test_one_folder_is_divided_by_holdout_and_has_no_test_split(flat):
    train, val = (set(names(dataset(flat, split, holdout=3, **FLAT))) for split in ("train", "val"))
    assert (len(train), len(val), train & val) == (4, 2, set())
    message = fault(flat, "test", holdout=3, **FLAT)
    assert "got the same images for train, val and test" in message
    assert "; set split=val, or " in message
    assert len(dataset(flat, "train", val=None, **FLAT)) == 6
    assert "; set split=train, or " in fault(flat, "test", val=None, **FLAT)


@pytest.mark.parametrize(
    "settings", [{"val": "train"}, {"images": "images/train"}, {"images": "./images/train/", "masks": "masks/train"}]
)
def test_settings_that_make_validation_of_training_images_are_refused(tmp_path, settings):
    write_folder(tmp_path)
    for split in ("train", "val"):
        assert "got the same images for train and val" in fault(tmp_path, split, **settings)
    if "masks" in settings:
        assert "or data.images=./images/SPLIT/ data.masks=masks/SPLIT" in fault(tmp_path, **settings)


def test_a_test_split_that_is_the_validation_folder_is_none(tmp_path):
    write_folder(tmp_path)
    assert [len(dataset(tmp_path, split, test="val")) for split in ("train", "val")] == [3, 3]
    assert "got the same images for val and test, expected each image in one split; set split=val" in fault(
        tmp_path, "test", test="val"
    )


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["link", "hard link"])
@pytest.mark.parametrize(("one", "other"), [("train", "val"), ("train", "test"), ("test", "val")])
def test_an_image_in_two_splits_is_refused_from_both(tmp_path, link, one, other):
    write_folder(tmp_path)
    link(tmp_path / f"images/{other}/g.png", tmp_path / f"images/{one}/f1.png")
    link(tmp_path / f"masks/{other}/g.png", tmp_path / f"masks/{one}/f1.png")
    for split, again in ((one, other), (other, one)):
        message = fault(tmp_path, split)
        assert f"is in {split} and in {again} (as " in message
        assert f"{tmp_path / f'images/{one}/f1.png'}" in message
        assert f"{tmp_path / f'images/{other}/g.png'}" in message
        assert "expected each image in one split; remove it from one of the folders" in message
    (third,) = {"train", "val", "test"} - {one, other}
    assert len(dataset(tmp_path, third)) == 3


def test_a_held_out_image_is_not_in_test(tmp_path):
    write_folder(tmp_path)
    for kind in ("images", "masks"):
        (tmp_path / kind / "test/again.png").hardlink_to(tmp_path / kind / "train/f1.png")
    for split in ("train", "val", "test"):
        assert "expected each image in one split" in fault(tmp_path, split, holdout=2)


def test_a_split_below_another_is_refused(tmp_path):
    write_folder(tmp_path)
    assert "images/val/f0.png: is in train and in val, and so are 2 more;" in fault(tmp_path, train=".")


def test_a_broken_split_is_no_matter_of_the_others(tmp_path):
    write_folder(tmp_path)
    shutil.rmtree(tmp_path / "masks/test")
    shutil.rmtree(tmp_path / "images/val")
    assert len(dataset(tmp_path)) == 3
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").write_text("f1\n")
    (tmp_path / "val.txt").write_text("no such name\n")
    assert names(dataset(tmp_path, lists="SPLIT.txt")) == ["f1"]


def test_folders_on_another_disk_count(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "disk").mkdir()
    for kind in ("images", "masks"):
        (tmp_path / "disk" / kind).mkdir()
        (tmp_path / kind / "train/f1.png").rename(tmp_path / "disk" / kind / "f1.png")
        (tmp_path / kind / "train/seq1").symlink_to(tmp_path / "disk" / kind)
    data = dataset(tmp_path)
    data.scan()
    assert names(data) == ["f0", "f2", "seq1_f1"]
    assert not data.passed_over


def test_what_is_passed_over_is_counted_and_named(tmp_path):
    write_folder(tmp_path)
    for path in ("images/train/Thumbs.db", "images/train/notes.txt", "masks/train/._f0.png", "masks/train/f0.json"):
        (tmp_path / path).write_text("x")
    (tmp_path / "images/train/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "images/train/loop").symlink_to(tmp_path / "images")
    data = dataset(tmp_path)
    assert names(data) == ["f0", "f1", "f2"]
    assert data.passed_over.counts == {OTHER_KIND: 2, BROKEN_LINK: 1, REPEATED_FOLDER: 1, HIDDEN: 2}
    assert data.passed_over.text().startswith(
        f"passed over: 2 with another ending ({tmp_path / 'images/train/notes.txt'}, ...), 1 broken"
    )
    assert not dataset(tmp_path, "val").passed_over


def test_masks_with_capital_suffixes_and_dots_in_names(tmp_path):
    (tmp_path / "classes.yaml").write_text(CLASSES)
    for name in ("a.b", "a.c.d"):
        save(tmp_path / f"images/train/deep/er/{name}.JPG", noise(0))
        save(tmp_path / f"masks/train/deep/er/{name}.PNG", blocks(0, [0, 1]))
    data = dataset(tmp_path)
    data.scan()
    assert names(data) == ["deep_er_a.b", "deep_er_a.c.d"]


def test_names_are_the_same_however_letters_are_composed(tmp_path):
    (tmp_path / "classes.yaml").write_text(CLASSES)
    save(tmp_path / "images/train/gro\u0308n.png", noise(0))
    save(tmp_path / "masks/train/gr\u00f6n.png", blocks(0, [0, 1]))
    data = dataset(tmp_path)
    data.scan()
    assert names(data) == ["gr\u00f6n"]


def test_classes_are_looked_for_here_and_then_below_the_root(tmp_path, monkeypatch):
    write_folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(CLASSES.replace("road", "mine"))
    (tmp_path / "data/root.yaml").write_text(CLASSES)
    assert dataset("data", classes="mine.yaml").classes[0] == "mine"
    assert dataset("data", classes="root.yaml").classes[0] == "road"
    message = fault("data", classes="none.yaml")
    assert message.startswith(
        "none.yaml or data/none.yaml: no such file, expected a YAML file of classes; write one, or set data.classes"
    )
    (tmp_path / "classes.yaml").write_text(CLASSES.replace("road", "street"))
    message = fault("data")
    assert message.startswith("data.classes: got classes.yaml, and there are ")
    assert f"{tmp_path / 'classes.yaml'} and {tmp_path / 'data/classes.yaml'}, which differ; expected one file" in message
    (tmp_path / "classes.yaml").write_text(CLASSES)
    assert dataset("data").classes[0] == "road"


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
