"""Lists of data=folder: every way in which people write them, and what is refused."""

import unicodedata

import pytest

from nas.data import build_dataset
from nas.data.folder import FolderConfig
from nas.errors import DataError
from tests.label_trees import CLASSES, IDS, blocks, noise, save

NAMES = ("plain", "with space", "com,ma", "a.b", "sub/c", "gr\u00f6\u00dfe")
CASES = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def root(tmp_path):
    """Images of NAMES in pictures/, masks in labels/."""
    (tmp_path / "classes.yaml").write_text(CLASSES)
    for number, name in enumerate(NAMES):
        save(tmp_path / f"pictures/{name}.JPG", noise(number))
        save(tmp_path / f"labels/{name}.PNG", blocks(number, IDS))
    return tmp_path


def listed(root, *lines, split="train", **settings):
    (root / f"{split}.txt").write_text("\n".join(lines))
    settings = {"images": "pictures", "masks": "labels", "lists": "SPLIT.txt"} | settings
    data = build_dataset(FolderConfig(root=str(root), **settings), split)
    return [data.name(index) for index in range(len(data))]


def refused(root, *lines, **settings):
    with pytest.raises(DataError) as caught:
        listed(root, *lines, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@CASES
@pytest.mark.parametrize("form", ["{}", "{}.jpg", "{}.JPG", "./{}", "pictures/{}.jpg", "/pictures/{}.JPG"])
def test_an_image_alone_is_found_by_name_or_path(root, name, form):
    assert listed(root, form.format(name)) == [name.replace("/", "_")]


@CASES
@pytest.mark.parametrize("separator", ["\t", " \t ", ",", ", ", ";", " "])
@pytest.mark.parametrize("prefix", ["", "./", "/", "{root}/"])
def test_image_and_mask_are_found_whatever_stands_between(root, name, separator, prefix):
    prefix = prefix.format(root=root)
    line = f"{prefix}pictures/{name}.jpg{separator}{prefix}labels/{name}.png"
    assert listed(root, line) == [f"pictures_{name}".replace("/", "_")]


def test_quotes_and_slashes_of_windows_are_understood(root):
    lines = ('"pictures/with space.jpg","labels/with space.png"', r"pictures\sub\c.jpg labels\sub\c.png", r"sub\c")
    assert listed(root, lines[0], lines[1]) == ["pictures_sub_c", "pictures_with space"]
    assert listed(root, lines[2]) == ["sub_c"]


def test_names_are_the_same_however_letters_are_composed(root):
    """macOS writes o and a diaeresis where others write one letter."""
    decomposed = unicodedata.normalize("NFD", "gr\u00f6\u00dfe")
    assert decomposed != "gr\u00f6\u00dfe"
    assert listed(root, decomposed) == ["gr\u00f6\u00dfe"]
    assert listed(root, f"pictures/{decomposed}.jpg,labels/{decomposed}.png") == ["pictures_gr\u00f6\u00dfe"]


def test_an_absolute_path_that_is_there_is_taken_before_one_below_the_root(root):
    elsewhere = root.parent / f"{root.name}_elsewhere"
    for place in (elsewhere, root / str(elsewhere).lstrip("/")):
        save(place / "x.png", noise(0))
    save(root / "labels/x.png", blocks(0, IDS))
    (root / "train.txt").write_text(f"{elsewhere}/x.png,labels/x.png\n")
    data = build_dataset(FolderConfig(root=str(root), lists="train.txt", val=None, test=None), "train")
    assert data._pairs[0].image == elsewhere / "x.png"


def test_a_line_with_two_meanings_is_refused(root):
    for name in ("pictures/x.png", "pictures/x.png labels/y.png"):
        save(root / name, noise(0))
    for name in ("labels/x.png", "labels/y.png labels/x.png"):
        save(root / name, blocks(0, IDS))
    message = refused(root, "pictures/x.png labels/y.png labels/x.png")
    assert message.startswith(f"{root / 'train.txt'}:1: can be read as ")
    assert message.endswith("expected one way; put a tab between image and mask")
    assert listed(root, "pictures/x.png\tlabels/x.png") == ["pictures_x"]


def test_a_name_with_two_meanings_is_refused(root):
    save(root / "pictures/plain.jpg.png", noise(0))
    for mask in ("plain", "plain.jpg"):
        save(root / f"labels/{mask}.png", blocks(0, IDS))
    assert "can be read as " in refused(root, "plain.jpg")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["plain", "with space", "with spaces"], "train.txt:3: neither an image with spaces in "),
        (["no"], "train.txt:1: no image no in "),
        (["pictures/plain.jpg,labels/no.png"], "labels/no.png: no such file, but "),
        (["pictures/no.jpg,labels/plain.png"], "pictures/no.jpg: no such file, but "),
        (["a b c"], "train.txt:1: got 3 fields that are no two files below "),
        (["plain", "plain.JPG"], "train.txt:2: "),
        (["pictures/plain.jpg,labels/plain.png", "pictures/a.b.jpg,labels/plain.png"], "labels/plain.PNG is in "),
        (["x" * 5000], "train.txt:1: no image "),
    ],
)
def test_a_line_that_means_nothing_or_repeats_is_named(root, lines, message):
    assert message in refused(root, *lines)


def test_a_mask_that_is_not_there_is_named_for_a_name(root):
    (root / "labels/plain.PNG").unlink()
    assert refused(root, "plain").startswith(f"{root / 'labels/plain.png'}: no such file, but {root / 'train.txt'}:1 asks for it")


def test_an_image_in_two_lists_is_refused_and_a_missing_list_is_none(root):
    assert listed(root, "plain", "a.b") == ["a.b", "plain"]
    listed(root, "sub/c", split="val")
    with (root / "val.txt").open("a") as file:
        file.write("\npictures/plain.jpg labels/plain.png")
    message = refused(root, "plain", "a.b")
    assert message.startswith(f"{root / 'pictures/plain.JPG'}: is in train and in val; expected each image in one split;")
    assert "remove it from one of the lists" in message


def test_a_missing_validation_list_names_holdout(root):
    listed(root, "plain", "a.b", "sub/c")
    with pytest.raises(DataError, match=r"val\.txt: no such file, expected the list of the val images; set data\.holdout=5 to val"):
        build_dataset(FolderConfig(root=str(root), images="pictures", masks="labels", lists="SPLIT.txt"), "val")
    assert listed(root, "plain", "a.b", "sub/c", holdout=2) == ["plain"]
