import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from nas.data.files.decode import check_image, image_size, read_image
from nas.errors import DataError
from tests.label_encodings import png_of, save_palette, save_turned
from tests.label_trees import noise, save


def fault(read, path):
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_upright_or_as_stored(tmp_path, suffix, orientation):
    upright = noise(0, (4, 6))
    path = save_turned(tmp_path / f"a.{suffix}", upright, orientation)
    np.testing.assert_array_equal(read_image(path), upright)
    stored = read_image(path, upright=False)
    again = tmp_path / "b.png"
    save(again, stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(again).save(again, exif=exif)
    np.testing.assert_array_equal(read_image(again), upright)
    assert image_size(path) == (4, 6)
    assert stored.shape == ((6, 4, 3) if orientation >= 5 else (4, 6, 3))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_uncompressed_tiff_files_that_pillow_could_map_are_turned_too(tmp_path, mode):
    upright = np.asarray(Image.fromarray(noise(0, (4, 6))).convert(mode))
    path = save_turned(tmp_path / "a.tif", upright, 6)
    np.testing.assert_array_equal(read_image(path), np.asarray(Image.fromarray(upright).convert("RGB")))


def deep_files(folder):
    values = noise(0).astype(np.uint16) * 16
    for name in ("rgb.png", "rgb.tif"):
        cv2.imwrite(str(folder / name), values)
    Image.fromarray(values[..., 0]).save(folder / "grey.png")
    Image.fromarray(values[..., 0]).save(folder / "grey.tif")
    png_of(folder / "grey_alpha.png", values[..., :2], bits=16, colour_type=4)
    png_of(folder / "rgba.png", np.concatenate([values, values[..., :1]], axis=-1), bits=16, colour_type=6)
    return sorted(folder.iterdir())


def test_16_bits_are_refused_whatever_holds_them(tmp_path):
    files = deep_files(tmp_path)
    assert len(files) == 6
    for path in files:
        for read in (read_image, check_image, image_size):
            assert "the image has 16 bits a channel" in fault(read, path)


def test_colours_that_depend_on_a_profile_are_refused(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(noise(0)).convert("CMYK").save(path)
    assert "got an image with CMYK colours, expected RGB or grey" in fault(check_image, path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA"])
def test_other_modes_have_the_colours_that_a_viewer_shows(tmp_path, mode):
    picture = Image.fromarray(noise(0)).convert(mode)
    picture.save(tmp_path / "a.png")
    check_image(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.asarray(picture.convert("RGB")))


def test_colours_below_transparent_pixels_are_refused_and_black_is_not(tmp_path):
    pixels = np.dstack([noise(0), np.full((24, 32), 255, np.uint8)])
    pixels[:3, :, 3] = 0
    save(tmp_path / "a.png", pixels)
    assert "96 pixels are transparent and have a colour that no viewer shows" in fault(check_image, tmp_path / "a.png")
    pixels[:3] = 0
    save(tmp_path / "a.png", pixels)
    check_image(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels[..., :3])


def test_transparent_entries_of_a_palette_are_judged_by_their_colour_too(tmp_path):
    indices = np.arange(12).reshape(3, 4) % 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = save_palette(tmp_path / "a.png", indices, [(0, 0, 0), (9, 8, 7), (255, 0, 0)], transparency=b"\0\xff\xff")
        assert read_image(path)[0].tolist() == [[0, 0, 0], [9, 8, 7], [255, 0, 0], [0, 0, 0]]
        save_palette(path, indices, [(0, 0, 0), (9, 8, 7), (255, 0, 0)], transparency=b"\xff\0\xff")
        assert "4 pixels are transparent" in fault(check_image, path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_a_file_with_something_after_its_end_is_whole(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    save(path, noise(0))
    check_image(path)
    path.write_bytes(path.read_bytes() + b"appended by a camera")
    check_image(path)


def test_damage_between_whole_ends_is_found_without_decoding(tmp_path):
    path = tmp_path / "a.png"
    save(path, noise(0))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x5A
    path.write_bytes(content)
    assert "unreadable or truncated (the checksum of the chunk 'IDAT' is wrong)" in fault(check_image, path)
