"""Splits whose label files mean different things by what they store."""

import numpy as np
import pytest

from nas.data import build_dataset
from nas.data.camvid import CamVidConfig
from nas.data.folder import FolderConfig
from nas.data.split_scan import scan_splits
from nas.errors import DataError
from tests.label_encodings import save_optimised, save_palette
from tests.label_trees import blocks, noise, save

COLOURS = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]


def write(root, classes, **masks):
    """Images with masks that functions of a path write."""
    root.mkdir(exist_ok=True)
    (root / "classes.yaml").write_text(classes)
    for number, (name, mask) in enumerate(masks.items()):
        save(root / f"images/train/{name}.png", noise(number))
        (root / "masks/train").mkdir(parents=True, exist_ok=True)
        mask(root / f"masks/train/{name}.png")
    return FolderConfig(root=str(root))


def palette(indices, colours):
    return lambda path: save_palette(path, indices, colours)


def fault(config, cache=False):
    config.cache = cache
    with pytest.raises(DataError) as caught:
        build_dataset(config, "train").scan()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_optimised_masks_of_a_known_data_set_are_read_as_the_others(camvid_tree, frame_of):
    for number in range(5):
        save_optimised(camvid_tree / f"trainannot/f{number}.png", frame_of(number)[1])
    data = build_dataset(CamVidConfig(root=str(camvid_tree)), "train")
    data.scan()
    for number in range(5):
        ids = frame_of(number)[1]
        np.testing.assert_array_equal(data.load(number)[1], np.where(ids == 11, 255, ids))


@pytest.mark.parametrize("cache", [False, True])
def test_an_index_that_changes_its_colour_is_refused(tmp_path, cache):
    swapped = [COLOURS[0], COLOURS[2], COLOURS[1]]
    config = write(
        tmp_path,
        "classes: [a, b, c]",
        f0=palette(blocks(0, [0, 1]), COLOURS),
        f1=palette(blocks(1, [0, 1]), swapped),
        f2=palette(blocks(2, [0, 2]), COLOURS),
    )
    message = fault(config, cache)
    assert message.startswith(
        f"{tmp_path / 'masks/train/f1.png'}: palette index 1 is [0, 128, 0], but [128, 0, 0] in {tmp_path / 'masks/train/f0.png'}"
    )
    assert "state the classes by colour: in classes.yaml" in message


def test_an_index_that_changes_its_colour_from_split_to_split_is_refused(tmp_path):
    config = write(tmp_path, "classes: [a, b, c]", f0=palette(blocks(0, [0, 1]), COLOURS))
    save(tmp_path / "images/val/f1.png", noise(1))
    (tmp_path / "masks/val").mkdir()
    save_palette(tmp_path / "masks/val/f1.png", blocks(1, [0, 1]), [COLOURS[0], COLOURS[2]])
    train, val = (build_dataset(config, split) for split in ("train", "val"))
    with pytest.raises(
        DataError, match=r"masks/val/f1\.png: palette index 1 is \[0, 128, 0\], but \[128, 0, 0\] in .*train/f0\.png"
    ):
        scan_splits(train, val, crop=None, key="search.crop")


def test_masks_of_renumbered_palettes_are_read_by_colour(tmp_path):
    indices, swapped = blocks(0, [0, 1, 2]), [COLOURS[0], COLOURS[2], COLOURS[1]]
    classes = "classes: [{name: a, colour: [0, 0, 0]}, {name: b, colour: [128, 0, 0]}, {name: c, colour: [0, 128, 0]}]"
    config = write(tmp_path, classes, f0=palette(indices, COLOURS), f1=palette(np.array([0, 2, 1])[indices], swapped))
    data = build_dataset(config, "train")
    data.scan()
    for index in range(2):
        np.testing.assert_array_equal(data.truth(index), indices)


def test_palettes_need_not_be_the_same_where_no_pixel_uses_them(tmp_path):
    other = [COLOURS[0], (7, 7, 7), COLOURS[2]]
    config = write(tmp_path, "classes: [a, b, c]", f0=palette(blocks(0, [0, 1]), COLOURS), f1=palette(blocks(1, [0, 2]), other))
    build_dataset(config, "train").scan()


def test_greys_and_colours_in_the_palettes_of_one_split_are_refused(tmp_path):
    config = write(
        tmp_path,
        "classes: [a, b, c]",
        f0=palette(blocks(0, [0, 1, 2]), COLOURS),
        f1=lambda path: save_optimised(path, np.where(blocks(1, [0, 1]), 2, 0)),
        f2=palette(blocks(2, [0]), [(0, 0, 0)]),
    )
    message = fault(config)
    assert message.startswith(f"{tmp_path / 'masks/train/f1.png'}: the palette holds greys alone")
    assert str(tmp_path / "masks/train/f0.png") in message


def one_bit(path):
    picture_bits = blocks(1, [0, 255])
    save_palette(path, picture_bits // 255, [(0, 0, 0), (255, 255, 255)])


@pytest.mark.parametrize("other", [1, 255])
def test_one_bit_that_is_id_1_does_not_stand_beside_ids_of_more_bits(tmp_path, other):
    classes = "classes: [background, target]"
    config = write(tmp_path, classes, f0=lambda path: save(path, blocks(0, [0, other])), f1=one_bit)
    message = fault(config)
    assert message.startswith(f"{tmp_path / 'masks/train/f1.png'}: white pixels of 1 bit may be id 1 or 255")
    assert f"{tmp_path / 'masks/train/f0.png'} stores one of these" in message
    save(tmp_path / "masks/train/f0.png", blocks(0, [0]))
    config.cache = False
    data = build_dataset(config, "train")
    data.scan()
    np.testing.assert_array_equal(data.truth(1), blocks(1, [0, 1]))
