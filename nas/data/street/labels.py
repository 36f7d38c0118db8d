"""Class ids of what a street scene shows: CamVid's order."""

from nas.data.classes.palette import CAMVID_CLASSES

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(len(CAMVID_CLASSES))
VOID = 255
