"""Cityscapes' labels as data: ids in the files, the 19 classes that are trained and evaluated, names and colours.

Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, 2016; the tables of its label definitions.
"""

from __future__ import annotations

from nas.data.classes.class_set import Colour, class_set
from nas.data.dataset import IGNORE_INDEX

_TRAINED: tuple[tuple[int, str, Colour], ...] = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
"""Label id, name and RGB colour of each class, in the order of the train ids."""

NUM_LABEL_IDS = 34
"""Label ids run from 0 to 33; those that are not trained are void."""
LICENCE_PLATE = 255
"""The label id -1 (licence plate) as a byte."""

CITYSCAPES = class_set([name for _, name, _ in _TRAINED], [colour for _, _, colour in _TRAINED])
"""The 19 classes in the order of the train ids."""

LABEL_IDS: dict[int, int] = {
    **dict.fromkeys((*range(NUM_LABEL_IDS), LICENCE_PLATE), IGNORE_INDEX),
    **{label_id: train_id for train_id, (label_id, _, _) in enumerate(_TRAINED)},
}
"""Id in a `labelIds` file -> train id, or void."""

TRAIN_IDS: dict[int, int] = {**{train_id: train_id for train_id in range(len(_TRAINED))}, IGNORE_INDEX: IGNORE_INDEX}
"""Id in a file of train ids (`labelTrainIds`, BDD100K) -> train id, or void."""
