import numpy as np
import pytest
import torch

from nas.data import SyntheticConfig, build_dataset
from nas.data.batches.loader import epoch_order, eval_loader, steps_per_epoch, train_loader
from nas.data.batches.transforms import evaluation, sample_rng, training


@pytest.fixture(scope="module")
def dataset():
    return build_dataset(SyntheticConfig(size=[24, 32], train=7, val=5), "train")


def _train(dataset, **changes):
    settings = {"batch_size": 2, "crop": [16, 20], "seed": 3, "epoch": 1} | changes
    return list(train_loader(dataset, **settings))


def _equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("n", [1, 2, 17])
def test_order_is_a_permutation(n):
    assert sorted(epoch_order(n, seed=0, epoch=0)) == list(range(n))


def test_order_depends_on_seed_and_epoch_alone():
    orders = {(s, e): tuple(epoch_order(50, seed=s, epoch=e)) for s in range(3) for e in range(3)}
    assert len(set(orders.values())) == 9
    np.random.seed(1)
    assert tuple(epoch_order(50, seed=2, epoch=1)) == orders[2, 1]


@pytest.mark.parametrize(("n", "batch_size", "steps"), [(7, 2, 3), (8, 2, 4), (1, 4, 1), (4, 4, 1), (367, 16, 22)])
def test_steps_are_full_batches_but_at_least_one(n, batch_size, steps):
    assert steps_per_epoch(n, batch_size) == steps


@pytest.mark.parametrize(("n", "batch_size"), [(0, 1), (1, 0)])
def test_nothing_to_batch_is_refused(n, batch_size):
    with pytest.raises(ValueError, match="expected at least 1"):
        steps_per_epoch(n, batch_size)


def test_batches_are_the_transformed_samples_in_order(dataset):
    order = epoch_order(7, seed=3, epoch=1)
    batches = _train(dataset)
    assert len(batches) == 3
    for number, (images, labels) in enumerate(batches):
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        for place in range(2):
            index = int(order[2 * number + place])
            image, label = training(dataset.load(index), crop=(16, 20), rng=sample_rng(3, 1, index))
            assert torch.equal(images[place], image)
            assert torch.equal(labels[place], label)


def test_workers_do_not_matter(dataset):
    assert _equal(_train(dataset, workers=0), _train(dataset, workers=2))
    evaluated = [list(eval_loader(dataset, batch_size=2, workers=workers)) for workers in (0, 2)]
    assert _equal(*evaluated)


def test_workers_fill_the_cache_of_this_process():
    fresh = build_dataset(SyntheticConfig(size=[24, 32], train=4), "train")
    list(train_loader(fresh, batch_size=2, crop=None, seed=0, epoch=0, workers=2))
    fresh._draw = None  # whatever is not remembered would now fail
    assert len(list(eval_loader(fresh, batch_size=4))) == 1


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_an_epoch_can_begin_in_the_middle(dataset, start):
    assert _equal(_train(dataset, start_batch=start), _train(dataset)[start:])


@pytest.mark.parametrize("start", [-1, 4])
def test_a_start_outside_the_epoch_is_refused(dataset, start):
    with pytest.raises(ValueError, match="expected 0 to 3"):
        _train(dataset, start_batch=start)


def test_epochs_and_seeds_differ(dataset):
    base = _train(dataset)
    assert not _equal(base, _train(dataset, epoch=2))
    assert not _equal(base, _train(dataset, seed=4))


def test_a_split_smaller_than_a_batch_is_repeated(dataset):
    ((images, labels),) = _train(dataset, batch_size=16)
    assert images.shape == (16, 3, 16, 20)
    assert torch.equal(images[:7], images[7:14])
    assert torch.equal(labels[:2], labels[14:])


def test_no_crop_means_the_size_of_the_data(dataset):
    assert _train(dataset, crop=None)[0][0].shape == (2, 3, 24, 32)


def test_the_global_generators_are_left_alone(dataset):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    _train(dataset)
    list(eval_loader(dataset, batch_size=2))
    assert torch.equal(torch.rand(3), expected)
    assert np.random.get_state()[1].tolist() == before


def test_evaluation_keeps_order_and_remainder(dataset):
    batches = list(eval_loader(dataset, batch_size=3))
    assert [len(images) for images, _ in batches] == [3, 3, 1]
    images = torch.cat([images for images, _ in batches])
    for index in range(7):
        assert torch.equal(images[index], evaluation(dataset.load(index))[0])
