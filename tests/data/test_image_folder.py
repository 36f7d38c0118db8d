"""Images in one folder a class: what is listed, loaded and refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data.files.passed_over import BROKEN_LINK, HIDDEN, NO_CLASS, OTHER_KIND
from nas.data.image_folder import ImageFolder, ImageFolderConfig, build_image_folder
from nas.data.synthetic import SyntheticConfig
from nas.errors import ConfigError, DataError
from tests.image_folders import SIZE, save, write_scenes
from tests.label_encodings import save_turned


@pytest.fixture
def root(tmp_path):
    return write_scenes(tmp_path / "images", {"train": 3, "val": 2})


def test_folders_are_classes_in_the_order_of_their_names(root):
    dataset = ImageFolder(ImageFolderConfig(root=str(root)), "train")
    dataset.scan()
    assert dataset.classes == ("upright", "upside_down")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert [dataset.name(i) for i in (0, 5)] == ["upright/0.png", "upside_down/2.png"]
    image, label = dataset.load(4)
    assert label == 1
    assert image.shape == (*SIZE, 3)
    assert np.array_equal(image, np.asarray(Image.open(root / "train" / "upside_down" / "1.png")))
    assert np.array_equal(image[::-1], dataset.load(1)[0])


def test_grey_palette_and_capital_endings_are_images_too(root):
    picture = Image.open(root / "val" / "upright" / "0.png")
    picture.convert("L").save(root / "val" / "upright" / "a.JPG")
    picture.convert("P").save(root / "val" / "upright" / "b.PNG")
    (root / "val" / "upright" / ".hidden").write_text("")
    dataset = ImageFolder(ImageFolderConfig(root=str(root)), "val")
    dataset.scan()
    assert len(dataset) == 6
    assert {dataset.load(index)[0].shape for index in range(6)} == {(*SIZE, 3)}


def test_images_are_turned_upright_as_everywhere(root):
    picture = Image.open(root / "val" / "upright" / "0.png")
    save_turned(root / "val" / "upright" / "0.png", np.asarray(picture)[:6, :9], 8)
    dataset = ImageFolder(ImageFolderConfig(root=str(root)), "val")
    np.testing.assert_array_equal(dataset.load(0)[0], np.asarray(picture)[:6, :9])


def test_whatever_is_no_image_is_counted_and_named(root):
    folder = root / "train"
    for path in ("notes.txt", "upright/notes.txt", "upright/Thumbs.db", "upside_down/.DS_Store", ".cache/0.png"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text("x")
    (folder / "upright/gone.png").symlink_to(root / "nowhere.png")
    data = ImageFolder(ImageFolderConfig(root=str(root)), "train")
    assert len(data) == 6
    assert data.passed_over.counts == {OTHER_KIND: 1, BROKEN_LINK: 1, NO_CLASS: 1, HIDDEN: 3}
    assert data.passed_over.examples[NO_CLASS] == (str(folder / "notes.txt"),)
    assert not ImageFolder(ImageFolderConfig(root=str(root)), "val").passed_over


def test_images_below_folders_and_links_of_a_class_count(root):
    (root / "train/upright/more").mkdir()
    (root / "train/upright/0.png").rename(root / "train/upright/more/0.png")
    (root / "train/upside_down").rename(root / "elsewhere")
    (root / "train/upside_down").symlink_to(root / "elsewhere")
    data = ImageFolder(ImageFolderConfig(root=str(root)), "train")
    assert sorted(data.name(index) for index in range(6))[:4] == [
        "upright/1.png",
        "upright/2.png",
        "upright/more/0.png",
        "upside_down/0.png",
    ]


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["link", "hard link"])
def test_an_image_in_two_splits_or_two_classes_is_refused(root, link):
    link(root / "val/upright/again.png", root / "train/upright/1.png")
    for split, other in (("train", "val"), ("val", "train")):
        with pytest.raises(DataError, match=rf"is in {split} and in {other} \(as .*remove it from one of them"):
            ImageFolder(ImageFolderConfig(root=str(root)), split)
    (root / "val/upright/again.png").unlink()
    link(root / "val/upright/again.png", root / "val/upside_down/1.png")
    with pytest.raises(DataError, match=r"upside_down/1\.png: the same file as .*upright/again\.png, expected each image once"):
        ImageFolder(ImageFolderConfig(root=str(root)), "val")


def cut(path):
    path.write_bytes(path.read_bytes()[:-500])


SPOILT = {
    "wrong root": (shutil.rmtree, "images: no such folder, expected train/CLASS/ and val/CLASS/"),
    "no split": (lambda root: shutil.rmtree(root / "train"), "images: no folder train/ in it, expected train/CLASS/"),
    "one class": (lambda root: shutil.rmtree(root / "train" / "upright"), "train: got 1 folders of classes, expected at least 2"),
    "empty class": (
        lambda root: [(root / split / "empty").mkdir() for split in ("train", "val")],
        "train/empty: no image in it, expected .jpg, .jpeg, .png, .bmp",
    ),
    "class of one split": (
        lambda root: save(root / "val" / "cellar" / "0.png", np.zeros((4, 4, 3))),
        "different classes, cellar is in one of them only",
    ),
    "no image": (lambda root: (root / "train" / "upright" / "1.png").write_text("x"), "1.png: unreadable or truncated"),
    "truncated": (lambda root: cut(root / "train" / "upright" / "1.png"), "1.png: unreadable or truncated"),
}
"""What can be wrong with a folder -> how to make it so, and what the message must say."""


@pytest.mark.parametrize("kind", SPOILT)
def test_broken_folder_is_refused_by_name(root, kind):
    spoil, message = SPOILT[kind]
    spoil(root)
    with pytest.raises(DataError) as refused:
        ImageFolder(ImageFolderConfig(root=str(root)), "train").scan()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_scan_of_headers_sees_what_is_no_image_but_not_a_cut_file(root):
    config = ImageFolderConfig(root=str(root), full_scan=False)
    SPOILT["truncated"][0](root)
    dataset = ImageFolder(config, "train")
    dataset.scan()
    with pytest.raises(DataError, match=r"1\.png: unreadable or truncated"):
        dataset.load(1)
    SPOILT["no image"][0](root)
    with pytest.raises(DataError, match=r"1\.png: unreadable or truncated"):
        dataset.scan()


@pytest.mark.parametrize("index", [-1, 6])
def test_index_outside_is_refused(root, index):
    with pytest.raises(IndexError, match="from 0 to 5"):
        ImageFolder(ImageFolderConfig(root=str(root)), "train").load(index)


@pytest.mark.parametrize("changes", [{"size": [64]}, {"size": [0, 4]}, {"workers": -1}])
def test_wrong_settings_are_named(changes):
    with pytest.raises(ConfigError, match=rf"data\.{next(iter(changes))}: got .*expected"):
        ImageFolderConfig(root="x", **changes)


def test_other_data_sets_are_refused_with_what_to_do():
    with pytest.raises(ConfigError, match=r"train.task=classification: got data=synthetic.*give data=image_folder"):
        build_image_folder(SyntheticConfig(), "train")
