"""Walks through folders: links are followed once, and what is not wanted is counted."""

import os

import pytest

from nas.data.files import file_walk
from nas.data.files.file_walk import find_files
from nas.data.files.passed_over import BROKEN_LINK, DEEPER_FOLDER, HIDDEN, NO_FILE, OTHER_KIND, REPEATED_FOLDER
from nas.errors import DataError


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(folder, *endings, **options):
    """Names below the folder, and names with their reasons."""
    result = find_files(folder, endings or (".png",), **options)
    names = [path.relative_to(folder).as_posix() for path in result.files]
    return names, {os.path.relpath(path, folder): reason for path, reason in result.passed.items()}


def test_files_end_as_asked_in_any_case_and_the_rest_has_its_reason(tmp_path):
    touch(*(tmp_path / name for name in ("b.png", "a.PNG", "c.txt", ".d.png", "Thumbs.db", "deep/e.png", "__MACOSX/f.png")))
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    (tmp_path / "linked.png").symlink_to(tmp_path / "b.png")
    os.mkfifo(tmp_path / "pipe.png")
    names, passed = found(tmp_path)
    assert names == ["a.PNG", "b.png", "linked.png"]
    assert passed == {
        "c.txt": OTHER_KIND,
        ".d.png": HIDDEN,
        "Thumbs.db": HIDDEN,
        "__MACOSX": HIDDEN,
        "deep": DEEPER_FOLDER,
        "gone.png": BROKEN_LINK,
        "self.png": BROKEN_LINK,
        "pipe.png": NO_FILE,
    }
    assert found(tmp_path, deep=True)[0] == ["a.PNG", "b.png", "deep/e.png", "linked.png"]


def test_links_to_folders_are_followed(tmp_path):
    touch(tmp_path / "data/real/a.png", tmp_path / "disk/more/b.png")
    (tmp_path / "data/linked").symlink_to(tmp_path / "disk")
    assert found(tmp_path / "data", deep=True) == (["linked/more/b.png", "real/a.png"], {})


def test_the_folder_itself_may_be_a_link(tmp_path):
    touch(tmp_path / "disk/a.png")
    (tmp_path / "linked").symlink_to(tmp_path / "disk")
    assert found(tmp_path / "linked", deep=True) == (["a.png"], {})


@pytest.mark.parametrize("up", ["..", "../..", "."])
def test_links_to_folders_above_are_passed_over(tmp_path, up):
    touch(tmp_path / "data/real/a.png", tmp_path / "other/b.png")
    (tmp_path / "data/real/loop").symlink_to(up)
    assert found(tmp_path / "data", deep=True) == (["real/a.png"], {"real/loop": REPEATED_FOLDER})


def test_a_folder_counts_once_and_as_itself(tmp_path):
    touch(tmp_path / "z/deep/a.png")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    (tmp_path / "b").symlink_to(tmp_path / "z/deep")
    assert found(tmp_path, deep=True) == (["z/deep/a.png"], {"a": REPEATED_FOLDER, "b": REPEATED_FOLDER})


def test_folders_that_link_to_each_other_end(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        touch(tmp_path / name / "x.png")
        (tmp_path / name / other).symlink_to(tmp_path / other)
    names, passed = found(tmp_path, deep=True)
    assert names == ["a/x.png", "b/x.png"]
    assert passed == {"a/b": REPEATED_FOLDER, "b/a": REPEATED_FOLDER}


def test_the_longer_ending_decides_and_known_files_are_not_worth_a_word(tmp_path):
    touch(*(tmp_path / name for name in ("a.png", "a_mask.png", "a.txt")))
    assert found(tmp_path, ".png", known=("_mask.png",)) == (["a.png"], {"a.txt": OTHER_KIND})
    assert found(tmp_path, "_mask.png", known=(".png",)) == (["a_mask.png"], {"a.txt": OTHER_KIND})
    assert found(tmp_path, ".png", known=(".png",))[0] == []


def test_a_folder_that_is_read_by_itself_is_left_out(tmp_path):
    touch(tmp_path / "a.png", tmp_path / "masks/a.png")
    assert found(tmp_path, deep=True, apart=tmp_path / "masks") == (["a.png"], {})


def test_a_folder_without_rights_is_refused(tmp_path, monkeypatch):
    touch(tmp_path / "locked/a.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(file_walk.os, "scandir", refuse)
    with pytest.raises(DataError, match=r"locked: unreadable \(Permission denied\), expected a folder that this user may read"):
        find_files(tmp_path, (".png",), deep=True)


def test_a_link_into_a_folder_without_rights_is_refused(tmp_path, monkeypatch):
    class Entry:
        name, path = "a.png", str(tmp_path / "a.png")

        def is_file(self):
            raise PermissionError(13, "Permission denied", self.path)

    monkeypatch.setattr(file_walk, "entries_of", lambda _: [Entry()])
    with pytest.raises(DataError, match=r"a\.png: unreadable \(Permission denied\)"):
        find_files(tmp_path, (".png",))
