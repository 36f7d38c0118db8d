"""Stylised street scenes in CamVid's 11 classes, drawn from a random generator with exact labels.

A scene lives in metres: x to the right, y up from the road, z ahead of the camera. `draw_scene` makes one.
"""

from nas.data.street.scene import draw_scene

__all__ = ["draw_scene"]
