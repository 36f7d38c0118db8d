import numpy as np

from nas.data.classes.palette import CAMVID_CLASSES, CAMVID_PALETTE


def test_classes_are_those_of_camvid_in_its_order():
    listed = "sky building pole road pavement tree sign fence car pedestrian bicyclist"
    assert listed.split() == list(CAMVID_CLASSES)


def test_colours_are_distinct_and_cannot_be_changed():
    assert CAMVID_PALETTE.shape == (11, 3)
    assert len(np.unique(CAMVID_PALETTE, axis=0)) == 11
    assert not CAMVID_PALETTE.flags.writeable
