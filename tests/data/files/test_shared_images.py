"""An image that is there twice is refused, whatever leads to it."""

from pathlib import Path

import pytest

from nas.data.files.shared_images import refuse_shared
from nas.errors import DataError


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path in paths:
        path.write_bytes(b"the same content")
    return paths


def refused(split, images, others):
    with pytest.raises(DataError) as caught:
        refuse_shared(split, images, others, fix="remove one")
    return str(caught.value)


def test_files_of_the_same_content_are_different_images(files):
    refuse_shared("train", files[:2], {"val": files[2:3], "test": files[3:]}, fix="")


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["link", "hard link"])
def test_a_link_is_the_image_that_it_leads_to(tmp_path, files, link):
    again = [tmp_path / f"again{number}.png" for number in range(2)]
    for path, target in zip(again, files[:2], strict=True):
        link(path, target)
    assert refused("train", files[:2], {"val": files[2:], "test": again}) == (
        f"{files[0]}: is in train and in test (as {again[0]}), and so are 1 more; expected each image in one split; remove one"
    )
    assert refused("val", [*files[:2], again[1]], {}) == (
        f"{again[1]}: the same file as {files[1]}, expected each image once; remove one"
    )


def test_the_same_path_is_named_once(files):
    assert refused("train", files[:2], {"val": files[1:]}) == (
        f"{files[1]}: is in train and in val; expected each image in one split; remove one"
    )


def test_what_is_not_there_is_left_to_those_who_read_it(tmp_path, files):
    refuse_shared("train", [tmp_path / "gone.png", *files], {"val": [tmp_path / "gone.png"]}, fix="")
