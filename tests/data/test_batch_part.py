"""What several processes load of each batch: together what one loads, in its order, whatever the number of passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nas.data import SyntheticConfig, build_dataset
from nas.data.batches import image_batches, loader
from nas.data.batches.held_out import HeldOutBatches
from nas.data.batches.loader import WHOLE, BatchPart
from nas.data.image_folder import ImageFolder, ImageFolderConfig
from tests.image_folders import write_scenes

CROP = (16, 20)


@pytest.fixture(scope="module")
def scenes():
    return build_dataset(SyntheticConfig(size=[24, 32], train=13, val=5), "train")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = write_scenes(tmp_path_factory.mktemp("data"), {"train": 13, "val": 5})
    return ImageFolder(ImageFolderConfig(root=str(root), size=[16, 20]), "train")


def assert_same_pairs(one, other):
    for mine, theirs in zip(one, other, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def joined(parts, passes):
    """The batches of all processes put together: of each pass the images of the first process, then of the second, ..."""
    for shares in zip(*parts, strict=True):
        pieces = [[tensor.chunk(passes) for tensor in share] for share in shares]
        yield tuple(torch.cat([piece[kind][number] for number in range(passes) for piece in pieces]) for kind in (0, 1))


@pytest.mark.parametrize(("count", "passes"), [(1, 1), (2, 1), (3, 1), (6, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("kind", ["scenes", "pictures"])
def test_parts_of_all_processes_are_the_whole_in_its_order(request, kind, count, passes):
    load = loader.train_loader if kind == "scenes" else image_batches.train_loader
    dataset = request.getfixturevalue(kind)
    settings = {"batch_size": 6, "crop": CROP, "seed": 3, "epoch": 1, "start_batch": 1}
    whole = list(load(dataset, **settings))
    parts = [list(load(dataset, **settings, part=BatchPart(number, count, passes))) for number in range(count)]
    assert whole
    assert len(parts[0][0][0]) == 6 // count
    assert_same_pairs(joined(parts, passes), whole)


@pytest.mark.parametrize("kind", ["scenes", "pictures"])
def test_evaluation_batches_are_dealt_out_whole(request, kind):
    load = loader.eval_loader if kind == "scenes" else image_batches.eval_loader
    dataset = request.getfixturevalue(kind)
    whole = list(load(dataset, batch_size=2))
    parts = [list(load(dataset, batch_size=2, part=BatchPart(number, 3))) for number in range(3)]
    assert sorted(len(part) - len(whole) // 3 for part in parts) == [0] * (3 - len(whole) % 3) + [1] * (len(whole) % 3)
    for number, part in enumerate(parts):
        assert_same_pairs(part, whole[number::3])


def test_held_out_batches_are_shared_too(scenes):
    def batches(part):
        return HeldOutBatches(scenes, batch_size=4, crop=CROP, seed=0, workers=0, of_batch=part)

    whole, parts = batches(WHOLE), [batches(BatchPart(number, 2)) for number in range(2)]
    for step in range(4):  # past the end of the first epoch
        shares = [part.batch(step) for part in parts]
        assert_same_pairs(joined([[share] for share in shares], 1), [whole.batch(step)])


def test_a_batch_that_cannot_be_shared_equally_is_refused():
    with pytest.raises(ValueError, match="got batches of 6, expected a multiple of 2 processes times 2 passes"):
        BatchPart(0, 2, passes=2).of(np.arange(6)[None])
