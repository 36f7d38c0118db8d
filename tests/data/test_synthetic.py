import time

import numpy as np
import pytest

from nas.data.files.resize import resize_label
from nas.data.synthetic import SyntheticConfig, SyntheticDataset
from nas.errors import ConfigError, DataError

NUM_CLASSES = 11


def _frames(split, count, size=(96, 128), seed=0):
    dataset = SyntheticDataset(SyntheticConfig(size=list(size), seed=seed, **{split: count}), split)
    return [dataset.load(index) for index in range(count)]


@pytest.fixture(scope="module")
def train():
    return _frames("train", 80)


@pytest.fixture(scope="module")
def val():
    return _frames("val", 30)


def _miou(predictions, labels):
    ious = []
    for class_id in range(NUM_CLASSES):
        there, said = labels == class_id, predictions == class_id
        ious.append((there & said).sum() / max(1, ((there | said) & (labels != 255)).sum()))
    return float(np.mean(ious))


@pytest.mark.parametrize("bits", [3, 4, 5])
@pytest.mark.parametrize("balanced", [False, True])
def test_colour_alone_does_not_tell_the_classes(train, val, bits, balanced):
    """The best guess from the colour of a pixel, by a joint histogram, stays below 45 % mIoU."""

    def cells(frames):
        colours = np.concatenate([image.reshape(-1, 3) for image, _ in frames]).astype(int) >> (8 - bits)
        return colours @ [1 << 2 * bits, 1 << bits, 1], np.concatenate([label.ravel() for _, label in frames])

    cell, label = cells(train)
    known = label != 255
    histogram = np.zeros((1 << 3 * bits, NUM_CLASSES))
    np.add.at(histogram, (cell[known], label[known]), 1)
    if balanced:
        histogram /= histogram.sum(axis=0)
    cell, label = cells(val)
    assert _miou(histogram.argmax(axis=1)[cell], label) < 0.45


def test_colour_alone_fails_for_a_decision_tree_too(train, val):
    tree = pytest.importorskip("sklearn.tree").DecisionTreeClassifier(min_samples_leaf=30, random_state=0)
    pixels = np.concatenate([image[::3, ::3].reshape(-1, 3) for image, _ in train])
    tree.fit(pixels, np.concatenate([label[::3, ::3].ravel() for _, label in train]))
    predictions = tree.predict(np.concatenate([image.reshape(-1, 3) for image, _ in val]))
    assert _miou(predictions, np.concatenate([label.ravel() for _, label in val])) < 0.45


@pytest.mark.parametrize(("first", "second"), [(3, 4), (1, 7), (8, 6), (9, 10)])
def test_pairs_of_classes_share_their_colours(train, first, second):
    """Road and pavement, building and fence, car and sign, pedestrian and bicyclist: histograms overlap by half."""

    def histogram(class_id):
        colours = np.concatenate([image[label == class_id] for image, label in train]) >> 6
        counts = np.bincount(colours.astype(int) @ [16, 4, 1], minlength=64)
        return counts / counts.sum()

    assert np.minimum(histogram(first), histogram(second)).sum() > 0.5


@pytest.mark.parametrize("size", [(96, 128), (180, 240)])
def test_all_classes_occur_regularly_with_plausible_shares(size):
    frames = _frames("train", 40, size)
    counts = np.stack([np.bincount(label.ravel(), minlength=256) for _, label in frames])
    shares = 100 * counts.sum(axis=0) / counts.sum()
    # sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist
    low = [10, 10, 0.5, 22, 3, 4, 0.5, 1, 3, 0.4, 0.4]
    high = [28, 30, 4, 40, 12, 18, 3, 6, 12, 2.5, 3]
    assert (shares[:NUM_CLASSES] > low).all(), shares[:NUM_CLASSES]
    assert (shares[:NUM_CLASSES] < high).all(), shares[:NUM_CLASSES]
    assert shares[255] < 2
    present = (counts[:, :NUM_CLASSES] >= 20).mean(axis=0)
    assert (present > 0.5).all(), present


def test_a_scene_is_a_function_of_seed_split_index_and_size():
    image, label = _frames("train", 2, seed=5)[1]
    again = _frames("train", 2, seed=5)[1]
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(label, again[1])
    assert not np.array_equal(image, _frames("train", 2, seed=6)[1][0])
    assert not np.array_equal(image, _frames("val", 2, seed=5)[1][0])
    longer = _frames("train", 3, seed=5)
    np.testing.assert_array_equal(image, longer[1][0])


def test_a_scene_shows_the_same_at_another_size():
    for (_, small), (_, large) in zip(_frames("train", 4, (90, 120)), _frames("train", 4, (180, 240)), strict=True):
        assert (resize_label(large, (90, 120)) == small).mean() > 0.9


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (97, 131), (40, 400), (400, 40)])
def test_any_size_can_be_drawn(size):
    image, label = _frames("test", 1, size)[0]
    assert image.shape == (*size, 3)
    assert label.shape == size


def test_a_very_large_scene_can_be_drawn():
    _, label = _frames("test", 1, (769, 1537))[0]
    assert len(np.unique(label)) > 6


def test_sky_is_above_and_road_below(val):
    """Labels lie where a street has them: a check against flipped or shifted maps."""
    for image, label in val:
        height = len(label)
        assert not (label[int(0.65 * height) :] == 0).any()
        assert not (label[: int(0.35 * height)] == 3).any()
        assert image.std() > 10


def test_image_edges_lie_on_label_edges(val):
    """The step of brightness across label borders is larger than next to them, on average over scenes."""
    across, beside = [], []
    for image, label in val:
        step = np.abs(np.diff(image.astype(float).mean(axis=2), axis=1))
        border = label[:, 1:] != label[:, :-1]
        across.append(step[border].mean())
        beside.append(step[:, 6:][border[:, :-6] & ~border[:, 6:]].mean())
    assert np.mean(across) > 1.5 * np.mean(beside)


def test_drawing_is_fast_and_remembered():
    dataset = SyntheticDataset(SyntheticConfig(train=10), "train")

    def seconds():
        start = time.perf_counter()
        for index in range(10):
            dataset.load(index)
        return time.perf_counter() - start

    first, second = seconds(), seconds()
    assert first < 2.0
    assert second < first / 10


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"size": [0, 4]}, "size"),
        ({"size": [4]}, "size"),
        ({"train": 0}, "train"),
        ({"seed": -1}, "seed"),
        ({"workers": -1}, "workers"),
    ],
)
def test_bad_settings_are_named(settings, key):
    with pytest.raises(ConfigError, match=rf"data\.{key}: got"):
        SyntheticConfig(**settings)


def test_an_unknown_split_lists_the_known_ones():
    with pytest.raises(DataError, match="got 'dev', expected one of train, val, test"):
        SyntheticConfig().count("dev")
