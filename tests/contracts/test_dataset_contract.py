"""What every data set of DATASETS promises; a new one needs one line in CONFIGS."""

import dataclasses
import pickle

import numpy as np
import pytest
from PIL import Image

from nas.data import DATASETS, build_dataset, config_from_plain, data_classes
from nas.data.batches.held_out import Part
from nas.data.camvid import CamVidConfig
from nas.data.cityscapes import CityscapesConfig
from nas.data.dataset import IGNORE_INDEX, SPLITS
from nas.data.folder import FolderConfig
from nas.data.synthetic import SyntheticConfig
from nas.errors import ConfigError, DataError
from tests.label_trees import write_cityscapes, write_folder

SIZES = ([24, 32], [97, 131], [60, 40])


def _camvid(folder, **settings):
    rng = np.random.default_rng(0)
    for split in SPLITS:
        (folder / split).mkdir(exist_ok=True)
        (folder / f"{split}annot").mkdir(exist_ok=True)
        for number in range(3):
            image, label = rng.integers(0, 256, (36, 48, 3)), rng.integers(0, 12, (36, 48))
            Image.fromarray(image.astype(np.uint8)).save(folder / split / f"{split}{number}.png")
            Image.fromarray(label.astype(np.uint8)).save(folder / f"{split}annot" / f"{split}{number}.png")
    return CamVidConfig(root=str(folder), **settings)


def _cityscapes(folder, **settings):
    return CityscapesConfig(root=str(write_cityscapes(folder)), **settings)


def _folder(folder, **settings):
    return FolderConfig(root=str(write_folder(folder)), **settings)


CONFIGS = {
    "synthetic": lambda folder, **settings: SyntheticConfig(train=3, val=3, test=3, **settings),
    "camvid": _camvid,
    "cityscapes": _cityscapes,
    "folder": _folder,
}
FROM_FILES = [name for name in CONFIGS if name != "synthetic"]


@pytest.fixture(autouse=True)
def _scenes_drawn_once():
    """Nothing: each test here has its own drawn."""


@pytest.fixture(params=list(DATASETS))
def make(request, tmp_path):
    """A function from size, split and cache to a data set of each kind."""

    def build(size=SIZES[0], split="train", cache=True, **settings):
        return build_dataset(CONFIGS[request.param](tmp_path, size=size, cache=cache, **settings), split)

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


@pytest.mark.parametrize("every", [1, 2, 3])
def test_every_takes_each_nth_image(make, every):
    everything, some = make(), make(every=every)
    taken = range(0, 3, every)
    assert [some.name(index) for index in range(len(some))] == [everything.name(index) for index in taken]
    for index, number in enumerate(taken):
        np.testing.assert_array_equal(some.load(index)[0], everything.load(number)[0])
        np.testing.assert_array_equal(some.load(index)[1], everything.load(number)[1])


def test_classes_are_known_without_the_data(make, request, tmp_path):
    dataset = make()
    config = CONFIGS[request.node.callspec.params["make"]](tmp_path, size=SIZES[0])
    known = data_classes(config_from_plain(dataclasses.asdict(config)))
    assert known.names == dataset.classes
    np.testing.assert_array_equal(known.palette, dataset.palette)


def test_plain_settings_with_an_unknown_key_are_refused(make, request, tmp_path):
    config = CONFIGS[request.node.callspec.params["make"]](tmp_path, size=SIZES[0])
    with pytest.raises(ConfigError, match="colour"):
        config_from_plain({**dataclasses.asdict(config), "colour": 1})


def test_every_below_one_is_refused(make):
    with pytest.raises(ConfigError, match=r"data\.every: got 0"):
        make(every=0)


@pytest.fixture(params=FROM_FILES)
def tree(request, tmp_path):
    """The training split of each kind as files: a function to build it, its images and its labels."""
    config = CONFIGS[request.param](tmp_path, size=None)

    def build(**settings):
        return build_dataset(dataclasses.replace(config, **settings), "train")

    files = sorted(path for path in tmp_path.rglob("*.png") if "train" in str(path.relative_to(tmp_path)))
    labels = [path for path in files if any(word in str(path) for word in ("annot", "gtFine", "masks"))]
    images = [path for path in files if path not in labels]
    assert len(images) == len(labels) == 3
    return build, images, labels


def _fault(build, **settings):
    """What is said, in a line, before the first step."""
    with pytest.raises(DataError) as caught:
        build(**settings).scan()
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    assert ";" in message  # what to do follows
    return message


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("part", ["image", "label"])
def test_a_truncated_file_is_found_by_the_scan(tree, cache, share, part):
    build, images, labels = tree
    path = (images if part == "image" else labels)[1]
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert _fault(build, cache=cache).startswith(f"{path}: unreadable or truncated")


@pytest.mark.parametrize("cache", [True, False])
def test_a_label_of_another_size_is_found_by_the_scan(tree, cache):
    build, images, labels = tree
    Image.fromarray(np.zeros((20, 21), np.uint8)).save(labels[2])
    message = _fault(build, cache=cache, size=[8, 8])
    assert message.startswith(f"{labels[2]}: the label is 20x21, its image {images[2].name} is ")


@pytest.mark.parametrize("cache", [True, False])
def test_an_unknown_id_is_found_by_the_scan(tree, cache):
    build, _, labels = tree
    label = np.asarray(Image.open(labels[0])).copy()
    label[0, :5] = 77
    Image.fromarray(label).save(labels[0])
    assert _fault(build, cache=cache).startswith(f"{labels[0]}: unknown label id 77 (5 pixels), expected 0-")


@pytest.mark.parametrize("cache", [True, False])
def test_images_of_different_sizes_are_found_by_the_scan(tree, cache):
    build, images, labels = tree
    size = Image.open(images[0]).size
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(images[1])
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(labels[1])
    message = _fault(build, cache=cache)
    assert message.startswith(f"{images[1]}: got 20x20, expected {size[1]}x{size[0]}")
    assert f"set data.size=[{size[1]},{size[0]}]" in message
    build(cache=cache, size=[10, 10]).scan()


@pytest.mark.parametrize("cache", [True, False])
def test_several_broken_files_are_counted(tree, cache):
    build, images, _ = tree
    for path in images[1:]:
        path.write_bytes(b"")
    assert "1 more of 3 images" in _fault(build, cache=cache)


def test_a_missing_label_is_found_at_once(tree):
    build, images, labels = tree
    labels[1].unlink()
    message = _fault(build)
    assert message.startswith(f"{images[1]}: no label, expected {labels[1]}; restore it")


def test_a_missing_image_is_found_at_once(tree):
    build, images, labels = tree
    images[1].unlink()
    assert _fault(build).startswith(f"{labels[1]}: no image, expected ")


def test_an_empty_split_is_named(tree):
    build, images, labels = tree
    for path in (*images, *labels):
        path.unlink()
    assert ": no image in it, expected " in _fault(build)


@pytest.mark.parametrize("where", ["nowhere", "empty"])
def test_a_wrong_root_is_named(tree, tmp_path, where):
    build, _, _ = tree
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=rf"{where}.*set data\.root"):
        build(root=str(tmp_path / where))


@pytest.mark.parametrize("cache", [True, False])
def test_the_scan_counts_the_stored_pixels_of_each_class_also_the_second_time(tree, cache):
    build, _, _ = tree
    data = build(cache=cache, size=[7, 9])
    stored = [data.truth(index) for index in range(3)]
    expected = [[int((label == value).sum()) for value in (*range(len(data.classes)), IGNORE_INDEX)] for label in stored]
    for _ in range(2):
        facts = data.scan()
        assert facts.images == 3
        assert facts.counts.tolist() == expected


def test_the_scan_of_a_part_has_the_facts_of_its_images(tree):
    build, _, _ = tree
    data = build()
    counts = data.scan().counts
    np.testing.assert_array_equal(Part(data, [2, 0]).scan().counts, counts[[2, 0]])


def test_labels_at_their_own_size_do_not_follow_the_size_of_loading(tree):
    build, images, labels = tree
    small, whole = build(size=[7, 9]), build()
    for index in range(3):
        np.testing.assert_array_equal(small.truth(index), whole.load(index)[1])
        assert small.load(index)[1].shape == (7, 9)
