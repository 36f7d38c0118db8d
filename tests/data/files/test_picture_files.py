import cv2
import numpy as np
import pytest
from PIL import Image

from nas.data.files.passed_over import HIDDEN, OTHER_KIND
from nas.data.files.picture_files import find_pictures
from nas.errors import ConfigError, DataError
from tests.label_trees import noise, save


def video(path, num=7, size=(48, 64)):
    """Frame i has the red level 30 i, no green, and the blue level 200 in its left half."""
    codec = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, size[::-1])
    assert writer.isOpened()
    for number in range(num):
        frame = np.zeros((*size, 3), np.uint8)
        frame[..., 2] = 30 * number
        frame[:, : size[1] // 2, 0] = 200
        writer.write(frame)
    writer.release()
    return path


def test_a_folder_gives_its_images_by_their_paths(tmp_path):
    for name in ("b.png", "a.PNG", "town/c.jpg", ".hidden.png", ".git/d.png"):
        save(tmp_path / name, noise(len(name)))
    (tmp_path / "notes.txt").write_text("no image")
    elsewhere = tmp_path.parent / f"{tmp_path.name}_elsewhere"
    save(elsewhere / "e.png", noise(0))
    (tmp_path / "linked").symlink_to(elsewhere)
    pictures = find_pictures(tmp_path)
    found = list(pictures)
    assert [picture.name for picture in found] == ["a", "b", "linked/e", "town/c"]
    assert pictures.passed_over.counts == {OTHER_KIND: 1, HIDDEN: 2}
    np.testing.assert_array_equal(found[1].image, noise(5))


def test_a_file_gives_itself(tmp_path):
    save(tmp_path / "a.png", noise(0, (5, 9)))
    (picture,) = find_pictures(tmp_path / "a.png")
    assert (picture.name, picture.image.shape) == ("a", (5, 9, 3))


@pytest.mark.parametrize("upright", [True, False])
def test_pictures_are_turned_upright_unless_told_otherwise(tmp_path, upright):
    pixels = noise(0, (4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be rotated by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    (picture,) = find_pictures(tmp_path, upright=upright)
    np.testing.assert_array_equal(picture.image, np.rot90(pixels, -1) if upright else pixels)


def test_a_picture_of_16_bits_is_refused_before_anything_is_predicted(tmp_path):
    save(tmp_path / "a.png", noise(0))
    cv2.imwrite(str(tmp_path / "b.png"), noise(1).astype(np.uint16) * 16)
    assert refused(tmp_path).startswith(f"{tmp_path / 'b.png'}: the image has 16 bits a channel")


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
@pytest.mark.parametrize("every", [1, 3])
def test_a_video_gives_every_nth_frame_in_rgb(tmp_path, suffix, every):
    found = list(find_pictures(video(tmp_path / f"clip{suffix}"), every))
    assert [picture.name for picture in found] == [f"clip_{number:06d}" for number in range(0, 7, every)]
    for picture, number in zip(found, range(0, 7, every), strict=True):
        np.testing.assert_allclose(picture.image[:, 48:, 0].mean(), 30 * number, atol=8)
        np.testing.assert_allclose(picture.image[:, :16, 2].mean(), 200, atol=12)
        assert picture.image.shape == (48, 64, 3)


def refused(*arguments, error=DataError):
    with pytest.raises(error) as caught:
        find_pictures(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_there_is_said(tmp_path, capfd):
    assert "no such file or folder; set images=" in refused(tmp_path / "nowhere")
    assert "no image in it" in refused(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    assert "got a file .txt, expected an image" in refused(tmp_path / "a.txt")
    video(tmp_path / "clip.mp4")
    assert f"give a video by itself, e.g. images={tmp_path / 'clip.mp4'}" in refused(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_a_truncated_image_is_found_before_anything_is_predicted(tmp_path, suffix, share):
    save(tmp_path / "a.png", noise(0))
    path = tmp_path / f"b.{suffix}"
    save(path, noise(1))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert refused(tmp_path).startswith(f"{path}: unreadable or truncated")


@pytest.mark.parametrize("cut", [0.0, 0.5])
def test_a_broken_video_is_refused_without_a_word_of_its_decoder(tmp_path, capfd, cut):
    path = video(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    capfd.readouterr()
    assert refused(path).startswith(f"{path}: unreadable or truncated")
    assert capfd.readouterr().err == ""


def test_leaving_out_frames_of_images_is_refused(tmp_path):
    save(tmp_path / "a.png", noise(0))
    assert "every_frame: got 2, but" in refused(tmp_path, 2, error=ConfigError)


def test_images_of_one_name_are_refused(tmp_path):
    save(tmp_path / "a.png", noise(0))
    save(tmp_path / "a.jpg", noise(0))
    assert "same name as" in refused(tmp_path)
