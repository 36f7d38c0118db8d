import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data import build_dataset
from nas.data.camvid import CamVidConfig, camvid_dataset
from nas.errors import ConfigError, DataError

REAL = Path(__file__).resolve().parents[3] / "shared" / "camvid"
needs_camvid = pytest.mark.skipif(not REAL.is_dir(), reason="CamVid is not at ../shared/camvid")


def _dataset(root, split="train", **settings):
    return camvid_dataset(CamVidConfig(root=str(root), **settings), split)


def _fault(root, **settings):
    with pytest.raises(DataError) as caught:
        _dataset(root, **settings).scan()
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    return message


def test_void_becomes_ignore_and_all_else_stays(camvid_tree, frame_of):
    dataset = _dataset(camvid_tree, "val")
    for index in range(5):
        image, stored = frame_of(10 + index)
        loaded, label = dataset.load(index)
        np.testing.assert_array_equal(loaded, image)
        np.testing.assert_array_equal(label[stored < 11], stored[stored < 11])
        assert (label[stored == 11] == 255).all()


def test_255_is_void_too(camvid_tree):
    label = np.full((12, 16), 255, np.uint8)
    label[0, 0] = 3
    Image.fromarray(label).save(camvid_tree / "trainannot" / "f0.png")
    np.testing.assert_array_equal(_dataset(camvid_tree).load(0)[1], label)


@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_every_takes_each_nth_image_in_the_order_of_names(segnet_tree, every):
    dataset = _dataset(segnet_tree, every=every)
    assert [dataset.name(index) for index in range(len(dataset))] == ["f0", "f1", "f2", "f3", "f4"][::every]


def test_lists_and_folders_load_the_same(segnet_tree, frame_of):
    listed = [_dataset(segnet_tree).load(index)[0] for index in range(5)]
    (segnet_tree / "train.txt").unlink()
    foldered = [_dataset(segnet_tree).load(index)[0] for index in range(5)]
    for index in range(5):
        np.testing.assert_array_equal(listed[index], frame_of(index)[0])
        np.testing.assert_array_equal(foldered[index], frame_of(index)[0])


def test_resized_frames_keep_the_set_of_labels_and_the_mean_colour(camvid_tree, frame_of):
    image, label = _dataset(camvid_tree, size=[6, 8]).load(0)
    assert image.shape == (6, 8, 3)
    np.testing.assert_allclose(image, frame_of(0)[0].reshape(6, 2, 8, 2, 3).mean((1, 3)), atol=0.51)
    assert set(np.unique(label)) <= {*range(11), 255}


def test_palette_images_are_labels_too(camvid_tree, frame_of):
    picture = Image.fromarray(frame_of(0)[1], mode="L").convert("L")
    picture.putpalette([7, 9, 11] * 256)
    picture.save(camvid_tree / "trainannot" / "f0.png")
    np.testing.assert_array_equal(_dataset(camvid_tree).load(0)[1] == 255, frame_of(0)[1] == 11)


def test_unknown_label_id_names_file_id_and_pixels(camvid_tree):
    label = np.zeros((12, 16), np.uint8)
    label[0, :3] = 12
    path = camvid_tree / "trainannot" / "f2.png"
    Image.fromarray(label).save(path)
    message = _fault(camvid_tree)
    assert message.startswith(f"{path}: unknown label id 12 (3 pixels)")


def test_label_of_another_size_names_both_files(camvid_tree):
    path = camvid_tree / "trainannot" / "f2.png"
    Image.fromarray(np.zeros((12, 17), np.uint8)).save(path)
    message = _fault(camvid_tree, size=[6, 8])
    assert message.startswith(f"{path}: the label is 12x17, its image f2.png is 12x16")


def test_colour_labels_are_refused(camvid_tree):
    path = camvid_tree / "trainannot" / "f1.png"
    Image.fromarray(np.full((12, 16, 3), [0, 0, 1], np.uint8)).save(path)
    assert _fault(camvid_tree).startswith(f"{path}: the mask has colours (mode RGB)")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_image_is_named(camvid_tree, suffix, share):
    (camvid_tree / "train" / "f3.png").unlink()
    path = camvid_tree / "train" / f"f3.{suffix}"
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    Image.fromarray(noise).save(whole, "JPEG" if suffix == "jpg" else "PNG")
    path.write_bytes(whole.getvalue()[: int(share * len(whole.getvalue()))])
    assert _fault(camvid_tree).startswith(f"{path}: unreadable or truncated")


def test_truncated_label_is_named_and_others_counted(camvid_tree):
    for name in ("f1", "f4"):
        path = camvid_tree / "trainannot" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:-60])
    message = _fault(camvid_tree)
    assert message.startswith(f"{camvid_tree / 'trainannot' / 'f1.png'}: unreadable or truncated")
    assert "1 more of 5" in message


def test_images_of_different_sizes_need_a_size(camvid_tree):
    Image.fromarray(np.zeros((10, 16, 3), np.uint8)).save(camvid_tree / "train" / "f1.png")
    Image.fromarray(np.zeros((10, 16), np.uint8)).save(camvid_tree / "trainannot" / "f1.png")
    assert "set data.size=[12,16]" in _fault(camvid_tree)
    _dataset(camvid_tree, size=[12, 16]).scan()


def test_scan_with_cache_reads_everything_once(camvid_tree, frame_of):
    dataset = _dataset(camvid_tree)
    dataset.scan()
    for path in camvid_tree.rglob("*.png"):
        path.unlink()
    np.testing.assert_array_equal(dataset.load(4)[0], frame_of(4)[0])


def test_a_file_that_vanishes_is_named(camvid_tree):
    dataset = _dataset(camvid_tree, cache=False)
    path = camvid_tree / "train" / "f3.png"
    path.unlink()
    with pytest.raises(DataError, match=r"f3\.png: no such file"):
        dataset.load(3)


@pytest.mark.parametrize(
    ("settings", "key"),
    [({"size": [3]}, "size"), ({"size": [0, 4]}, "size"), ({"every": 0}, "every"), ({"workers": -1}, "workers")],
)
def test_bad_settings_are_named(settings, key):
    with pytest.raises(ConfigError, match=rf"data\.{key}: got"):
        CamVidConfig(root=".", **settings)


@needs_camvid
@pytest.mark.parametrize(("split", "count"), [("train", 367), ("val", 101), ("test", 233)])
def test_real_splits_have_the_published_numbers_of_images(split, count):
    dataset = build_dataset(CamVidConfig(root=str(REAL)), split)
    assert len(dataset) == count
    assert dataset.size == (360, 480)


@needs_camvid
def test_real_training_labels_have_the_stated_shares():
    """Shares of pixels (%) as the README beside the data states them."""
    stated = [16.9, 23.3, 1.0, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.6, 0.3, 4.0]
    dataset = build_dataset(CamVidConfig(root=str(REAL)), "train")
    start = time.perf_counter()
    dataset.scan()
    assert time.perf_counter() - start < 10
    counts = sum(np.bincount(dataset.load(index)[1].ravel(), minlength=256) for index in range(len(dataset)))
    shares = 100 * counts[[*range(11), 255]] / counts.sum()
    np.testing.assert_allclose(shares, stated, atol=0.06)


@needs_camvid
def test_a_real_image_and_its_label_lie_on_each_other():
    """The sky is brighter than the road in nearly every frame, at the label's own pixels."""
    dataset = build_dataset(CamVidConfig(root=str(REAL), size=[90, 120], every=20), "test")
    brighter = []
    for index in range(len(dataset)):
        image, label = dataset.load(index)
        brighter.append(image[label == 0].mean() > image[label == 3].mean())
    assert np.mean(brighter) > 0.9
