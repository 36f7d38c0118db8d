"""EXIF orientation of images and their masks, in data sets as a user has them."""

import numpy as np
import pytest

from nas.data import build_dataset
from nas.data.folder import FolderConfig
from nas.errors import ConfigError, DataError
from tests.label_encodings import save_turned
from tests.label_trees import CLASSES, IDS, blocks, noise, save

UPRIGHT = (24, 32)


def write(root, orientation, *, mask="upright", size=UPRIGHT, mask_orientation=1):
    """One image whose tag turns it upright, and a mask drawn on that or on the pixels as stored; returns both as they should be."""
    image, ids = noise(0, size), blocks(0, IDS, size)
    root.mkdir(exist_ok=True)
    (root / "classes.yaml").write_text(CLASSES)
    save_turned(root / "images/train/a.png", image, orientation)
    drawn = ids if mask == "upright" else blocks(0, IDS, (size[1], size[0]) if orientation >= 5 else size)
    save_turned(root / "masks/train/a.png", drawn, mask_orientation)
    return image, drawn


def dataset(root, **settings):
    return build_dataset(FolderConfig(root=str(root), **settings), "train")


def fault(root, **settings):
    with pytest.raises(DataError) as caught:
        dataset(root, **settings).scan()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_the_size_of_the_mask_shows_that_it_belongs_to_the_upright_image(tmp_path, orientation, cache):
    image, ids = write(tmp_path, orientation)
    data = dataset(tmp_path, cache=cache)
    data.scan()
    assert data.size == UPRIGHT
    np.testing.assert_array_equal(data.load(0)[0], image)
    np.testing.assert_array_equal(data.truth(0) == 0, ids == 0)
    np.testing.assert_array_equal(data.load(0)[1], data.truth(0))


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_of_the_pixels_as_stored_needs_a_setting(tmp_path, orientation):
    _, ids = write(tmp_path, orientation, mask="stored")
    message = fault(tmp_path)
    assert f"{tmp_path / 'images/train/a.png'}: the EXIF tag Orientation {orientation} turns the image" in message
    assert f"its mask {tmp_path / 'masks/train/a.png'} has the size of the pixels as stored" in message
    assert "set data.exif=stored to ignore the tags" in message
    data = dataset(tmp_path, exif="stored")
    data.scan()
    assert data.size == UPRIGHT[::-1]
    assert data.load(0)[0].shape == (32, 24, 3)
    np.testing.assert_array_equal(data.truth(0) == 0, ids == 0)
    message = fault(tmp_path, exif="upright")
    assert f"its image a.png is 24x32 (turned by its EXIF tag Orientation {orientation})" in message


@pytest.mark.parametrize(("orientation", "size"), [(2, UPRIGHT), (3, UPRIGHT), (4, UPRIGHT), (6, (24, 24))])
def test_where_the_size_cannot_tell_a_setting_must(tmp_path, orientation, size):
    image, _ = write(tmp_path, orientation, size=size)
    message = fault(tmp_path)
    assert (
        f"Orientation {orientation} turns the image, and its mask {tmp_path / 'masks/train/a.png'} has a size that fits" in message
    )
    assert "data.exif=upright" in message
    np.testing.assert_array_equal(dataset(tmp_path, exif="upright").load(0)[0], image)
    assert not np.array_equal(dataset(tmp_path, exif="stored").load(0)[0], image)


def test_a_mask_with_a_tag_of_its_own_needs_a_setting_and_is_turned_like_its_image(tmp_path):
    image, ids = write(tmp_path, 6, mask_orientation=6)
    message = fault(tmp_path)
    assert message.startswith(f"{tmp_path / 'masks/train/a.png'}: the mask has the EXIF tag Orientation 6 of its own")
    assert str(tmp_path / "images/train/a.png") in message
    data = dataset(tmp_path, exif="upright")
    data.scan()
    np.testing.assert_array_equal(data.load(0)[0], image)
    np.testing.assert_array_equal(data.truth(0) == 0, ids == 0)
    stored = dataset(tmp_path, exif="stored")
    stored.scan()
    np.testing.assert_array_equal(stored.truth(0), np.rot90(data.truth(0)))


def test_masks_of_other_sizes_are_told_with_what_was_done_to_the_image(tmp_path):
    write(tmp_path, 6)
    save(tmp_path / "masks/train/a.png", blocks(0, IDS, (10, 10)))
    assert "the label is 10x10, its image a.png is 24x32 (turned by its EXIF tag Orientation 6)" in fault(tmp_path)
    message = fault(tmp_path, exif="stored")
    assert "its image a.png is 32x24 (as stored, data.exif=stored ignores its EXIF tag Orientation 6)" in message


def test_an_image_of_another_size_is_told_with_what_turned_it(tmp_path):
    write(tmp_path, 6)
    for folder in ("images", "masks"):
        (tmp_path / folder / "train/a.png").rename(tmp_path / folder / "train/b.png")
    write(tmp_path, 1, size=(32, 24))
    assert "b.png: got 24x32 (turned by its EXIF tag Orientation 6), expected 32x24 like the first image" in fault(tmp_path)


def test_another_rule_is_refused():
    with pytest.raises(ConfigError, match=r"data\.exif: got sideways, expected upright or stored, or null"):
        FolderConfig(root=".", exif="sideways")
