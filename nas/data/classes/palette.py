"""Classes and colours of CamVid (Brostow et al., 2009) in the order of the SegNet copy, as data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CAMVID_CLASSES: tuple[str, ...] = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
"""Name of each class id."""

CAMVID_PALETTE: NDArray[np.uint8] = np.array(
    [
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ],
    dtype=np.uint8,
)
"""Colour [11, 3] (RGB) in which label maps of CamVid are customarily drawn."""

CAMVID_PALETTE.setflags(write=False)
