"""The held-out share of a training split: disjoint, a function of the seed, and readable from any batch on."""

from __future__ import annotations

from math import lcm

import numpy as np
import pytest
import torch

from nas.data.batches.held_out import HeldOutBatches, hold_out
from nas.data.batches.loader import train_loader
from nas.data.synthetic import SyntheticConfig, SyntheticDataset
from nas.errors import ConfigError

SIZE = (24, 32)


def street(count: int) -> SyntheticDataset:
    return SyntheticDataset(SyntheticConfig(size=list(SIZE), train=count, val=1, test=1), "train")


def names(part):
    return [part.name(index) for index in range(len(part))]


def batches(part, **changes):
    return HeldOutBatches(part, **{"batch_size": 2, "crop": SIZE, "seed": 0, "workers": 0, **changes})


@pytest.mark.parametrize(("count", "share", "held"), [(10, 0.5, 5), (10, 0.2, 2), (2, 0.01, 1), (2, 0.99, 1), (7, 0.5, 4)])
def test_parts_are_disjoint_and_complete_and_neither_is_empty(count, share, held):
    whole = street(count)
    rest, held_out = hold_out(whole, share=share, seed=3)
    assert len(held_out) == held
    assert sorted(names(rest) + names(held_out)) == names(whole)


def test_the_split_is_a_function_of_the_seed_that_spreads_over_the_images():
    whole = street(40)
    splits = [tuple(names(hold_out(whole, share=0.5, seed=seed)[1])) for seed in (0, 0, 1, 2)]
    assert splits[0] == splits[1]
    assert len(set(splits)) == 3
    assert all(set(split) not in (set(names(whole)[:20]), set(names(whole)[20:])) for split in splits)


def test_a_part_is_the_images_of_the_whole_under_their_names():
    whole = street(6)
    _, part = hold_out(whole, share=0.5, seed=0)
    by_name = {whole.name(index): whole.load(index) for index in range(6)}
    for index in range(len(part)):
        for mine, theirs in zip(part.load(index), by_name[part.name(index)], strict=True):
            assert np.array_equal(mine, theirs)
    assert (part.size, part.classes, part.split) == (whole.size, whole.classes, "train")
    with pytest.raises(IndexError):
        part.load(3)
    with pytest.raises(IndexError):
        part.name(-1)


def test_one_image_cannot_be_split():
    with pytest.raises(ConfigError, match="got 1 training image, expected at least 2"):
        hold_out(street(1), share=0.5, seed=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_batch_read_alone_equals_the_one_read_in_order(workers):
    _, part = hold_out(street(10), share=0.5, seed=0)  # five images: two batches an epoch, one image left over in each
    in_order = batches(part, workers=workers)
    for number in range(5):
        read = in_order.batch(number)
        for mine, alone in zip(read, batches(part).batch(number), strict=True):
            assert torch.equal(mine, alone)


def test_batches_come_in_a_new_order_every_epoch_and_each_image_at_most_once_in_one():
    _, part = hold_out(street(12), share=0.5, seed=0)
    source = batches(part)
    epochs = [sum((source.names(3 * epoch + batch) for batch in range(3)), []) for epoch in range(4)]
    assert all(sorted(epoch) == sorted(names(part)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_names_are_those_of_the_images_of_the_batch(monkeypatch):
    _, part = hold_out(street(10), share=0.5, seed=0)
    loaded = []
    load, name = SyntheticDataset.load, SyntheticDataset.name
    monkeypatch.setattr(SyntheticDataset, "load", lambda self, index: (loaded.append(name(self, index)), load(self, index))[1])
    source = batches(part)
    for number in range(5):
        loaded.clear()
        source.batch(number)
        assert source.names(number) == loaded


def test_augmentation_of_held_out_batches_is_not_that_of_the_training_batches():
    whole = street(lcm(2, 3))
    held_out = torch.cat([batches(whole).batch(number)[0] for number in range(3)])
    training = torch.cat([images for images, _ in train_loader(whole, batch_size=2, crop=SIZE, seed=0, epoch=0)])
    assert not any(torch.equal(one, other) for one in held_out for other in training)
