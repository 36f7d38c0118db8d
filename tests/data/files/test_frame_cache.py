import os
import pickle

import numpy as np
import pytest

from nas.data.files.frame_cache import FrameCache
from nas.errors import DataError


def _read(index):
    return np.full((2, 3, 3), index, np.uint8), np.full((2, 3), index + 100, np.uint8)


def test_each_frame_is_read_once():
    cache, asked = FrameCache(3, (2, 3)), []

    def read(index):
        asked.append(index)
        return _read(index)

    for index in (1, 0, 1, 1, 0):
        image, label = cache.get(index, read)
        assert (image == index).all()
        assert (label == index + 100).all()
    assert asked == [1, 0]


def test_what_a_child_process_reads_the_parent_has():
    cache = FrameCache(1, (2, 3))
    child = os.fork()
    if child == 0:
        cache.get(0, lambda index: _read(7))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (cache.get(0, _read)[0] == 7).all()


def test_a_failed_read_leaves_the_place_empty():
    cache = FrameCache(1, (2, 3))

    def fail(index):
        raise DataError("broken")

    with pytest.raises(DataError, match="broken"):
        cache.get(0, fail)
    assert (cache.get(0, _read)[0] == 0).all()


def test_pickling_carries_the_shape_only():
    cache = FrameCache(2, (2, 3))
    cache.get(1, _read)
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.get(1, lambda index: _read(9))[0] == 9).all()


def test_more_than_the_memory_says_what_to_do():
    with pytest.raises(DataError, match=r"data\.cache: .* set data\.cache=false"):
        FrameCache(1 << 30, (1 << 12, 1 << 12))
