"""Batches of images with a class: windows, flips, sizes, and what they are a function of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nas.data.batches.image_batches import AREA, ASPECT, augmented, centred, crop_window, eval_loader, train_loader
from nas.data.batches.transforms import MEAN, STD
from nas.data.image_folder import ImageFolder, ImageFolderConfig
from tests.image_folders import write_scenes

CROP = (24, 32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = write_scenes(tmp_path_factory.mktemp("data"), {"train": 5, "val": 2})
    return ImageFolder(ImageFolderConfig(root=str(root), size=[16, 20]), "train")


def epoch_of(dataset, **changes):
    settings = {"batch_size": 3, "crop": CROP, "seed": 0, "epoch": 0, **changes}
    return list(train_loader(dataset, **settings))


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_windows_lie_inside_and_have_area_and_aspect_in_range():
    rng, shares, aspects = np.random.default_rng(0), [], []
    for _ in range(2000):
        rows, columns = crop_window(300, 400, rng)
        assert 0 <= rows.start < rows.stop <= 300
        assert 0 <= columns.start < columns.stop <= 400
        height, width = rows.stop - rows.start, columns.stop - columns.start
        shares.append(height * width / 120_000)
        aspects.append(width / height)
    slack = 0.02
    assert AREA[0] - slack < min(shares) < 0.15
    assert 0.9 < max(shares) <= AREA[1] + slack
    assert ASPECT[0] - slack < min(aspects) < 0.8
    assert 1.25 < max(aspects) < ASPECT[1] + slack
    assert abs(np.mean(np.log(aspects))) < 0.05


@pytest.mark.parametrize(("size", "window"), [((10, 400), (10, 13)), ((400, 10), (13, 10)), ((1, 1), (1, 1))])
def test_image_into_which_no_window_fits_gives_its_middle_or_less(size, window):
    found = set()
    for seed in range(30):
        rows, columns = crop_window(*size, np.random.default_rng(seed))
        found.add((rows.stop - rows.start, columns.stop - columns.start))
        assert rows.stop <= size[0]
        assert columns.stop <= size[1]
    assert window in found


def test_half_of_the_images_are_flipped():
    ramp = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], 40, axis=0).repeat(3, axis=2)
    rising = [
        float(np.diff(augmented(ramp, (20, 20), np.random.default_rng(seed))[0, :, 0].astype(int)).sum()) > 0 for seed in range(400)
    ]
    assert 150 < sum(rising) < 250


@pytest.mark.parametrize("size", [(50, 90), (90, 50), (30, 40), (8, 10)])
def test_middle_of_an_image_has_the_size_asked_for_and_keeps_the_middle(size):
    image = np.zeros((*size, 3), dtype=np.uint8)
    image[size[0] // 2 - 2 : size[0] // 2 + 2, size[1] // 2 - 2 : size[1] // 2 + 2] = 200
    result = centred(image, (32, 40))
    assert result.shape == (32, 40, 3)
    weight = result[..., 0].astype(float)
    rows, columns = np.indices(weight.shape)
    assert (weight * rows).sum() / weight.sum() == pytest.approx(15.5, abs=1.5)
    assert (weight * columns).sum() / weight.sum() == pytest.approx(19.5, abs=1.5)


def test_middle_covers_seven_eighths_of_the_shorter_side():
    ramp = np.repeat(np.linspace(0, 255, 256)[:, None, None].astype(np.uint8), 256, axis=1).repeat(3, axis=2)
    column = centred(ramp, (224, 224))[:, 0, 0]
    assert (int(column[0]), int(column[-1])) == (16, 239)


def test_batch_is_a_function_of_seed_epoch_and_number(dataset):
    whole = epoch_of(dataset)
    assert len(whole) == 3
    assert same(whole, epoch_of(dataset))
    assert same(whole[1:], epoch_of(dataset, start_batch=1))
    assert same(whole, epoch_of(dataset, workers=2))
    assert not same(whole, epoch_of(dataset, seed=1))
    assert not same(whole, epoch_of(dataset, epoch=1))
    images, labels = whole[0]
    assert (images.shape, images.dtype) == ((3, 3, *CROP), torch.float32)
    assert (labels.shape, labels.dtype) == ((3,), torch.int64)


def test_loading_does_not_draw_on_the_global_generator(dataset):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    epoch_of(dataset)
    assert torch.equal(torch.get_rng_state(), state)


def test_split_smaller_than_a_batch_is_repeated(dataset):
    ((images, _),) = epoch_of(dataset, batch_size=16)
    assert images.shape[0] == 16


def test_validation_takes_all_images_in_order_normalised_at_the_size_of_the_data_set(dataset):
    batches = list(eval_loader(dataset, batch_size=4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert torch.cat([labels for _, labels in batches]).tolist() == [0] * 5 + [1] * 5
    expected = (centred(dataset.load(4)[0], (16, 20)) / 255 - MEAN) / STD
    np.testing.assert_allclose(batches[1][0][0].permute(1, 2, 0).numpy(), expected, atol=1e-5)
