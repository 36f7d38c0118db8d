import re
from pathlib import Path

import pytest

from nas.data.files.camvid_files import find_pairs
from nas.data.files.passed_over import COMMENT, DEEPER_FOLDER, HIDDEN, OTHER_KIND
from nas.errors import DataError


def _refused(root, split="train"):
    with pytest.raises(DataError) as caught:
        find_pairs(root, split)
    assert "\n" not in str(caught.value)
    assert (
        "restore" in str(caught.value)
        or "set data.root" in str(caught.value)
        or "correct" in str(caught.value)
        or "remove" in str(caught.value)
    )
    return str(caught.value)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_folders_pair_equal_stems(camvid_tree, split):
    pairs = find_pairs(camvid_tree, split).pairs
    assert [pair.image for pair in pairs] == [camvid_tree / split / f"f{number}.png" for number in range(5)]
    assert [pair.label for pair in pairs] == [camvid_tree / f"{split}annot" / f"f{number}.png" for number in range(5)]


def test_lists_are_rerooted_and_sorted(segnet_tree):
    pairs = find_pairs(segnet_tree, "val").pairs
    assert [pair.image for pair in pairs] == [segnet_tree / "val" / f"f{number}.png" for number in range(5)]
    assert pairs[2].label == segnet_tree / "valannot" / "f2.png"


def test_the_list_decides_where_there_is_one(segnet_tree):
    (segnet_tree / "train.txt").write_text("CamVid/train/f3.png CamVid/trainannot/f3.png\n")
    assert [pair.image.stem for pair in find_pairs(segnet_tree, "train").pairs] == ["f3"]


def test_hidden_and_foreign_files_do_not_count_and_are_named(camvid_tree):
    (camvid_tree / "train" / "._f9.png").write_bytes(b"")
    (camvid_tree / "train" / "Thumbs.db").write_bytes(b"")
    (camvid_tree / "train" / "notes.txt").write_bytes(b"")
    (camvid_tree / "trainannot" / "colour").mkdir()
    found = find_pairs(camvid_tree, "train")
    assert len(found.pairs) == 5
    assert found.passed_over.counts == {HIDDEN: 2, OTHER_KIND: 1, DEEPER_FOLDER: 1}
    assert found.passed_over.examples[OTHER_KIND] == (str(camvid_tree / "train/notes.txt"),)


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["link", "hard link"])
def test_an_image_in_two_splits_is_refused(camvid_tree, link):
    link(camvid_tree / "val/f9.png", camvid_tree / "train/f2.png")
    link(camvid_tree / "valannot/f9.png", camvid_tree / "trainannot/f2.png")
    for split, other in (("train", "val"), ("val", "train")):
        message = _refused(camvid_tree, split)
        assert f"is in {split} and in {other} (as " in message
        assert all(str(camvid_tree / path) in message for path in ("train/f2.png", "val/f9.png"))
    assert len(find_pairs(camvid_tree, "test").pairs) == 5


def test_an_image_that_two_lists_name_is_refused(segnet_tree):
    (segnet_tree / "val.txt").write_text("a/train/f3.png a/trainannot/f3.png\n")
    assert _refused(segnet_tree).startswith(f"{segnet_tree / 'train/f3.png'}: is in train and in val; expected each image in one")


def test_lists_are_read_whatever_wrote_them(segnet_tree):
    for kind in ("", "annot"):
        (segnet_tree / f"train{kind}/f1.png").rename(segnet_tree / f"train{kind}/f 1, b.PNG")
    lines = [
        "train/f0.png,trainannot/f0.png",
        "/SegNet/CamVid/train/f 1, b.png /SegNet/CamVid/trainannot/f 1, b.png",
        r"SegNet\CamVid\train\f2.png" + "\t" + r"SegNet\CamVid\trainannot\f2.png",
        "# the rest is blurred",
    ]
    for text in ("\n".join(lines), "\r\n".join(lines), "\r".join(lines)):
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            (segnet_tree / "train.txt").write_bytes(text.encode(encoding))
            found = find_pairs(segnet_tree, "train")
            assert [pair.name for pair in found.pairs] == ["f 1, b", "f0", "f2"]
            assert found.passed_over.examples == {COMMENT: (f"{segnet_tree / 'train.txt'}:4",)}


def test_missing_root_says_what_belongs_there(tmp_path):
    assert re.match(r".*/nowhere: no such folder; .*train/ and trainannot/ or the list train\.txt", _refused(tmp_path / "nowhere"))


def test_wrong_root_says_what_belongs_there(camvid_tree):
    assert _refused(camvid_tree.parent, "val").startswith(f"{camvid_tree.parent}: not CamVid's folder, which holds val/")


def test_missing_label_folder_is_named(camvid_tree):
    (camvid_tree / "trainannot").rename(camvid_tree / "labels")
    assert _refused(camvid_tree).startswith(f"{camvid_tree / 'trainannot'}: no such folder")


def test_image_without_label_is_named_and_others_counted(camvid_tree):
    for number in (2, 4):
        (camvid_tree / "trainannot" / f"f{number}.png").unlink()
    message = _refused(camvid_tree)
    assert message.startswith(f"{camvid_tree / 'train' / 'f2.png'}: no label (nor 1 more)")
    assert str(camvid_tree / "trainannot" / "f2.png") in message


def test_label_without_image_is_named(camvid_tree):
    (camvid_tree / "train" / "f3.png").unlink()
    assert _refused(camvid_tree).startswith(f"{camvid_tree / 'trainannot' / 'f3.png'}: no image, expected f3 in")


def test_empty_split_is_named(camvid_tree):
    for path in (camvid_tree / "val").iterdir():
        path.unlink()
    assert _refused(camvid_tree, "val").startswith(f"{camvid_tree / 'val'}: no image in it")


def test_empty_list_is_named(segnet_tree):
    (segnet_tree / "test.txt").write_text("\n\n")
    assert _refused(segnet_tree, "test").startswith(f"{segnet_tree / 'test.txt'}: lists no image")


def test_list_line_without_label_is_named(segnet_tree):
    (segnet_tree / "train.txt").write_text("a/train/f0.png a/trainannot/f0.png\na/train/f1.png\n")
    assert _refused(segnet_tree).startswith(f"{segnet_tree / 'train.txt'}:2: got 1 fields")


@pytest.mark.parametrize("folder", ["train", "trainannot"])
def test_listed_file_that_is_not_there_is_named(segnet_tree, folder):
    path = segnet_tree / folder / "f2.png"
    path.unlink()
    assert _refused(segnet_tree).startswith(f"{path}: no such file, but {segnet_tree / 'train.txt'}:3 lists it")


def test_list_that_is_no_text_is_named(segnet_tree):
    (segnet_tree / "train.txt").write_bytes(b"\xff\xfe\x00")
    assert _refused(segnet_tree).startswith(f"{segnet_tree / 'train.txt'}: unreadable")


def test_two_images_of_one_name_are_refused(camvid_tree):
    (camvid_tree / "train" / "f1.jpg").write_bytes(b"")
    assert "same name as" in _refused(camvid_tree)
