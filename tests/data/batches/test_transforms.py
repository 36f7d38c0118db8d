import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.batches.transforms import (
    evaluation,
    normalised,
    padding_share,
    random_crop,
    random_flip,
    random_scale,
    sample_rng,
    to_tensors,
    training,
)

SIDE = st.integers(1, 30)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _frame(height=20, width=30, seed=0):
    """An image whose red channel repeats the label, so that one can be checked with the other."""
    label = np.random.default_rng(seed).integers(0, 11, (height, width)).astype(np.uint8)
    return np.stack([label, label + 20, label + 40], axis=-1), label


def test_normalisation_is_the_formula_pixel_by_pixel():
    image, label = _frame(3, 4)
    tensor, target = to_tensors(image, label)
    assert tensor.dtype == torch.float32
    assert target.dtype == torch.int64
    for channel in range(3):
        for row in range(3):
            for column in range(4):
                expected = (image[row, column, channel] / 255 - MEAN[channel]) / STD[channel]
                assert tensor[channel, row, column].item() == pytest.approx(expected, abs=1e-5)
    np.testing.assert_array_equal(target.numpy(), label)
    assert torch.equal(normalised(image), tensor)


@pytest.mark.parametrize("size", [(1, 1), (1, 768), (768, 1), (24, 32), (3, 256)])
def test_normalisation_has_the_bits_of_the_formula_at_every_level(size):
    """Also of images that are views: turned round, cut out, of every other column."""
    levels = np.resize(np.arange(256, dtype=np.uint8), (*size, 1))
    image = np.concatenate([levels, levels[::-1], levels[:, ::-1]], axis=2)
    for view in (image, image[::-1, ::-1], image[: size[0] // 2 + 1], image[:, ::2], image[..., ::-1]):
        expected = (view.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
        got = normalised(view)
        assert got.is_contiguous()
        assert np.array_equal(got.numpy(), expected.transpose(2, 0, 1))


def test_evaluation_only_normalises():
    frame = _frame()
    for got, want in zip(evaluation(frame), to_tensors(*frame), strict=True):
        assert torch.equal(got, want)


def test_flip_mirrors_both_or_neither_half_of_the_time():
    image, label = _frame()
    flips = 0
    for seed in range(200):
        out, target = random_flip(image, label, np.random.default_rng(seed))
        np.testing.assert_array_equal(out[..., 0], target)
        flipped = not np.array_equal(target, label)
        flips += flipped
        np.testing.assert_array_equal(target, np.fliplr(label) if flipped else label)
    assert abs(flips - 100) < 4 * np.sqrt(200 / 4)


def test_scale_is_uniform_between_half_and_double_and_keeps_the_aspect():
    image, label = _frame(100, 200)
    factors = []
    for seed in range(200):
        out, target = random_scale(image, label, np.random.default_rng(seed))
        assert out.shape[:2] == target.shape
        assert target.shape[1] == pytest.approx(2 * target.shape[0], abs=1)
        factors.append(target.shape[0] / 100)
    assert 0.5 <= min(factors) < 0.55
    assert 1.95 < max(factors) <= 2.0
    assert np.mean(factors) == pytest.approx(1.25, abs=4 * 1.5 / np.sqrt(12 * 200))


@given(st.tuples(SIDE, SIDE), st.tuples(SIDE, SIDE), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_crop_holds_a_window_of_the_image_and_padding(size, crop, seed):
    (height, width), (crop_height, crop_width) = size, crop
    image, label = _frame(height, width)
    out, target = random_crop(image, label, np.random.default_rng(seed), crop=crop)
    assert out.shape == (crop_height, crop_width, 3)
    assert target.shape == (crop_height, crop_width)
    kept = target != 255
    rows, columns = min(height, crop_height), min(width, crop_width)
    assert kept.sum() == rows * columns
    np.testing.assert_array_equal(out[kept][:, 0], target[kept])
    assert (out[~kept] == np.rint(255 * np.array(MEAN))).all()
    window = target[kept].reshape(rows, columns)
    places = [
        np.array_equal(label[top : top + rows, left : left + columns], window)
        for top in range(height - rows + 1)
        for left in range(width - columns + 1)
    ]
    assert any(places)


def test_crop_takes_every_place_equally_often():
    image, label = _frame(1, 4)
    label = np.arange(4, dtype=np.uint8)[None]
    firsts = [random_crop(image, label, np.random.default_rng(s), crop=(1, 2))[1][0, 0] for s in range(300)]
    counts = np.bincount(firsts, minlength=3)
    assert len(counts) == 3
    assert (abs(counts - 100) < 4 * np.sqrt(300 * 2 / 9)).all()


def test_padding_is_about_zero_after_normalisation():
    image, label = _frame(1, 1)
    out, target = random_crop(image, label, np.random.default_rng(0), crop=(9, 9))
    tensor, labels = to_tensors(out, target)
    assert tensor[:, labels == 255].abs().max() < 0.01


def test_a_crop_that_is_all_void_passes():
    image, _ = _frame()
    void = np.full((20, 30), 255, np.uint8)
    tensor, target = training((image, void), crop=(16, 48), rng=np.random.default_rng(0))
    assert torch.isfinite(tensor).all()
    assert (target == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (97, 131)])
@pytest.mark.parametrize("crop", [(1, 1), (33, 47)])
def test_any_size_goes_through_training(size, crop):
    for seed in range(5):
        tensor, target = training(_frame(*size), crop=crop, rng=np.random.default_rng(seed))
        assert tensor.shape == (3, *crop)
        assert target.shape == crop


def test_frames_are_not_changed():
    image, label = _frame()
    image.setflags(write=False)
    label.setflags(write=False)
    training((image, label), crop=(8, 8), rng=np.random.default_rng(0))


def test_draws_depend_on_seed_epoch_and_index_alone():
    def draw(*key):
        return sample_rng(*key).random(4).tolist()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    keys = [(s, e, i) for s in range(3) for e in range(3) for i in range(3)]
    assert len({tuple(draw(*key)) for key in keys}) == len(keys)


@pytest.mark.parametrize(
    ("size", "crop", "share"),
    [
        ((40, 60), (20, 30), 0.0),  # no scale is smaller than a half
        ((40, 60), (40, 60), 1 - (7 / 24 + 1) / 1.5),  # the integral of s^2 up to 1, and 1 from there on
        ((40, 60), (160, 240), 1 - 2.625 / 16 / 1.5),  # never filled
        ((40, 60), (160, 30), 1 - (4 - 0.25) / 2 / 4 / 1.5),  # filled in width alone
    ],
)
def test_the_share_of_padding_is_the_integral_over_the_scales(size, crop, share):
    assert padding_share(size, crop) == pytest.approx(share, abs=1e-5)


def test_the_share_of_padding_is_what_training_crops_have():
    image, label = np.full((20, 30, 3), 9, np.uint8), np.zeros((20, 30), np.uint8)
    rng = np.random.default_rng(0)
    padded = [(training((image, label), crop=(31, 37), rng=rng)[1] == 255).double().mean().item() for _ in range(2000)]
    assert padding_share((20, 30), (31, 37)) == pytest.approx(np.mean(padded), abs=0.02)
