"""What the names of images and masks say about why they do not match."""

from pathlib import Path

import pytest

from nas.data.files.name_hints import NamedFiles, other_suffix, shared_folder_suffixes, why_unmatched


def hint(images, masks, image_suffix=".jpg", settable=True):
    """The hint for images and masks of some names, in folders i and m."""
    image_files = NamedFiles({name: Path(f"i/{name}.jpg") for name in images}, Path("i"), image_suffix, "I" if settable else None)
    mask_files = NamedFiles({name: Path(f"m/{name}.png") for name in masks}, Path("m"), ".png", "M" if settable else None)
    bare, lonely = sorted(set(images) - set(masks)), sorted(set(masks) - set(images))
    return why_unmatched(image_files, mask_files, bare=bare, lonely=lonely)


@pytest.mark.parametrize(
    ("images", "masks", "expected"),
    [
        (["1", "2", "10"], ["001", "002", "010"], "m/001.png differs in leading zeros: give both the same name"),
        (["img_7_x", "a"], ["a", "img_007_x"], "m/img_007_x.png differs in leading zeros: give both the same name"),
        (["IMG_1"], ["img_1"], "m/img_1.png differs in capital letters: give both the same name"),
        (["town/1"], ["1"], "m/1.png lies in another folder: put both at the same place"),
        (["a", "b"], ["a_mask", "b_mask"], "if m/a_mask.png is its mask, set M=_mask.png"),
        (["a_rgb", "b_rgb"], ["a", "b"], "if m/a.png is its mask, set I=_rgb.jpg"),
        (["t/a_rgb", "t/b_rgb"], ["t/a_gt", "t/b_gt"], "if m/t/a_gt.png is its mask, set I=_rgb.jpg M=_gt.png"),
        (["a", "b"], ["a_mask", "c"], None),
        (["a"], ["b"], None),
        (["a", "b"], ["mask_a", "mask_b"], "if m/mask_a.png is its label, rename it: the two may differ in their ends alone"),
        (["t/a"], ["t/b"], None),
        (["a"], [], None),
        (["a", "b"], ["a"], None),
    ],
)
def test_names_say_why(images, masks, expected):
    assert hint(images, masks) == expected


def test_without_a_setting_files_are_renamed():
    assert hint(["a"], ["a_L"], settable=False) == "if m/a_L.png is its label, rename it"


def test_an_image_of_any_extension_keeps_its_own():
    assert hint(["a_rgb"], ["a"], image_suffix="") == "if m/a.png is its mask, set I=_rgb.jpg"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "a_mask.png", "b.jpg", "b_mask.png"], (".jpg", "_mask.png")),
        (["a.png", "a_mask.png", "b.png", "b_mask.png", "c.png"], (".png", "_mask.png")),
        (["a.jpg", "a.png", "b.png", "b.jpg"], (".jpg", ".png")),
        (["a.b.jpg", "a.b-gt.png"], (".jpg", "-gt.png")),
        (["a_1.jpg", "a_2.jpg", "a_3.jpg"], None),
        (["a.jpg", *(f"b{number}.jpg" for number in range(8)), "a_1.jpg"], None),
        ([], None),
    ],
)
def test_one_folder_of_images_and_masks_shows_their_suffixes(names, expected):
    assert shared_folder_suffixes(names) == expected


@pytest.mark.parametrize(
    ("bare", "others", "expected"),
    [
        (["a", "b"], ["a.tif", "b.tif"], "if a.tif is its mask, set data.mask_suffix=.tif"),
        (["t/a"], ["t/b.bmp", "t/a_mask.bmp"], "if t/a_mask.bmp is its mask, set data.mask_suffix=_mask.bmp"),
        (["a", "b"], ["a.tif"], None),
        (["a"], ["b.tif"], None),
    ],
)
def test_masks_of_another_suffix_are_named(bare, others, expected):
    assert other_suffix(bare, others, lambda path: None) == expected


def test_masks_that_a_lossy_format_has_changed_are_no_suffix_to_set():
    lossy = {"b.jpg": "JPEG"}.get
    said = "b.jpg is JPEG, which may change values: export the masks as PNG from where they were made"
    assert other_suffix(["b"], ["b.jpg"], lossy) == said
    assert other_suffix(["a"], ["a.jpg"], lossy) == "if a.jpg is its mask, set data.mask_suffix=.jpg"
