import numpy as np
import pytest

from nas.data.classes.class_set import MAX_CLASSES, class_set, distinct_colours, numbered_classes


def test_colours_differ_from_each_other_from_black_and_from_those_taken():
    taken = distinct_colours(3)
    colours = distinct_colours(MAX_CLASSES, taken)
    assert len({*colours, *taken, (0, 0, 0)}) == MAX_CLASSES + 4
    assert all(0 <= part <= 255 for colour in colours for part in colour)


def test_colours_are_those_of_pascal_voc():
    """The first of its 20 classes as the challenge lists them: aeroplane, bicycle, bird, boat, bottle, bus, car, cat."""
    listed = [(128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128), (64, 0, 0)]
    assert distinct_colours(8) == listed


@pytest.mark.parametrize("count", [1, 19, MAX_CLASSES])
def test_numbered_classes_have_names_and_colours_of_their_own(count):
    classes = numbered_classes(count)
    assert len(set(classes.names)) == count
    assert len(np.unique(classes.palette, axis=0)) == count


def test_the_palette_cannot_be_changed():
    classes = class_set(["a"], [(1, 2, 3)])
    with pytest.raises(ValueError, match="read-only"):
        classes.palette[0] = 0
