"""What every data set of DATASETS promises; a new one needs one line in CONFIGS."""

import dataclasses
import pickle

import numpy as np
import pytest
from PIL import Image

from nas.data import DATASETS, build_dataset
from nas.data.camvid import CamVidConfig
from nas.data.dataset import IGNORE_INDEX, SPLITS
from nas.data.synthetic import SyntheticConfig

SIZES = ([24, 32], [97, 131], [60, 40])


def _camvid(folder, size, cache):
    rng = np.random.default_rng(0)
    for split in SPLITS:
        (folder / split).mkdir(exist_ok=True)
        (folder / f"{split}annot").mkdir(exist_ok=True)
        for number in range(3):
            image, label = rng.integers(0, 256, (36, 48, 3)), rng.integers(0, 12, (36, 48))
            Image.fromarray(image.astype(np.uint8)).save(folder / split / f"{split}{number}.png")
            Image.fromarray(label.astype(np.uint8)).save(folder / f"{split}annot" / f"{split}{number}.png")
    return CamVidConfig(root=str(folder), size=size, cache=cache)


CONFIGS = {
    "synthetic": lambda folder, size, cache: SyntheticConfig(size=size, train=3, val=3, test=3, cache=cache),
    "camvid": _camvid,
}


@pytest.fixture(params=list(DATASETS))
def make(request, tmp_path):
    """A function from size, split and cache to a data set of each kind."""

    def build(size=SIZES[0], split="train", cache=True):
        return build_dataset(CONFIGS[request.param](tmp_path, size, cache), split)

    return build


def test_every_dataset_has_a_contract_config():
    assert CONFIGS.keys() == DATASETS.keys()


@pytest.mark.parametrize("name", list(DATASETS))
def test_config_is_a_keyword_only_dataclass_that_names_its_entry(name):
    config = DATASETS[name].config
    fields = {field.name: field for field in dataclasses.fields(config)}
    assert fields["name"].default == name
    assert fields["workers"].default == 0
    assert all(field.kw_only for field in fields.values())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("split", SPLITS)
def test_frames_have_the_promised_size_type_and_labels(make, size, split):
    dataset = make(size, split)
    dataset.scan()
    assert dataset.split == split
    assert dataset.size == tuple(size)
    assert len(dataset) == 3
    for index in range(3):
        image, label = dataset.load(index)
        assert image.shape == (*size, 3)
        assert label.shape == tuple(size)
        assert image.dtype == label.dtype == np.uint8
        assert set(np.unique(label)) <= {*range(len(dataset.classes)), IGNORE_INDEX}


def test_classes_and_palette_belong_together(make):
    dataset = make()
    assert dataset.palette.shape == (len(dataset.classes), 3)
    assert dataset.palette.dtype == np.uint8
    assert len({tuple(colour) for colour in dataset.palette}) == len(set(dataset.classes)) == len(dataset.classes)


def test_names_are_distinct_and_plain(make):
    dataset = make()
    names = [dataset.name(index) for index in range(len(dataset))]
    assert len(set(names)) == len(names)
    assert all(name and "/" not in name for name in names)


@pytest.mark.parametrize("cache", [True, False])
def test_two_copies_load_the_same_in_any_order_and_again(make, cache):
    first, second = make(cache=cache), make(cache=not cache)
    forward = [first.load(index) for index in (0, 1, 2)]
    backward = [second.load(index) for index in (2, 1, 0)][::-1]
    again = [first.load(index) for index in (0, 1, 2)]
    for one, two, three in zip(forward, backward, again, strict=True):
        for part in (0, 1):
            np.testing.assert_array_equal(one[part], two[part])
            np.testing.assert_array_equal(one[part], three[part])


def test_images_differ_within_and_between_splits(make):
    frames = [make(split=split).load(index)[0].tobytes() for split in SPLITS for index in range(3)]
    assert len(set(frames)) == len(frames)


def test_an_index_outside_is_refused_also_where_numpy_would_take_it(make):
    dataset = make()
    for index in (-1, 3):
        with pytest.raises(IndexError, match="from 0 to 2"):
            dataset.load(index)
        with pytest.raises(IndexError, match="from 0 to 2"):
            dataset.name(index)


def test_remembered_frames_cannot_be_written_to(make):
    image, label = make(cache=True).load(0)
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0] = 0
    with pytest.raises(ValueError, match="read-only"):
        label[0, 0] = 0


def test_a_pickled_dataset_loads_the_same(make):
    dataset = make()
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.load(1)[0], dataset.load(1)[0])
