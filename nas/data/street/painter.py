"""A camera on a street and a painter that draws shapes given in metres into colour and label at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.data.street.colours import Colour, mixed

_SHIFT = 4
"""Fractional bits of the coordinates handed to OpenCV."""
_FAR = 1 << 20
"""Coordinates are clipped to this, with their fractional bits: 65536 pixels, far outside any picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A pinhole camera that looks along a road.

    Args:
        focal_px: Focal length in pixels.
        centre_px: Column of the vanishing point.
        horizon_px: Row of the horizon.
        height_m: Height above the road.
        offset_m: Position to the right of the middle of the road.
        bend: Curvature of the street: what stands at depth z moves to the right by `bend * z ** 2`, in 1/m.
    """

    focal_px: float
    centre_px: float
    horizon_px: float
    height_m: float
    offset_m: float
    bend: float

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points [..., 3] in metres (z > 0) as columns and rows [..., 2] in pixels."""
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        pixels_per_m = self.focal_px / z
        pixels = np.empty((*points.shape[:-1], 2))
        pixels[..., 0] = self.centre_px + pixels_per_m * (x - self.offset_m + self.bend * z * z)
        pixels[..., 1] = self.horizon_px + pixels_per_m * (self.height_m - y)
        return pixels

    def pixels(self, metres: float, depth_m: float) -> float:
        """Length in pixels of a length in metres that faces the camera at the given depth."""
        return self.focal_px * metres / depth_m


class Painter:
    """Draws shapes over each other: three channels of colour and, as the fourth, the label.

    Args:
        size: Height and width of the canvas in pixels.
        camera: Where the scene is seen from.
        haze: Colour that far things fade into.
        visibility_m: Depth at which 63 % of a colour has faded.
    """

    def __init__(self, size: tuple[int, int], *, camera: Camera, haze: Colour, visibility_m: float) -> None:
        self.canvas: NDArray[np.uint8] = np.zeros((*size, 4), dtype=np.uint8)
        self.camera = camera
        self._haze = haze
        self._visibility_m = visibility_m

    def polygons(self, corners: ArrayLike, colour: Colour, label: int) -> None:
        """Fill polygons of one colour.

        Args:
            corners: Corners [K, 3] of one polygon or [N, K, 3] of several, in metres.
            colour: Colour before haze.
            label: Class of the pixels.
        """
        points = np.asarray(corners, dtype=np.float64)
        if points.ndim == 2:
            points = points[None]
        fixed = self._fixed(self.camera.project(points))
        cv2.fillPoly(self.canvas, list(fixed), self._ink(colour, label, points), shift=_SHIFT)

    def stroke(self, corners: ArrayLike, colour: Colour, label: int, *, width_m: float, closed: bool = False) -> None:
        """Draw a line of the given width in metres, at least one pixel of the canvas, through points [K, 3]."""
        points = np.asarray(corners, dtype=np.float64)
        width_px = max(1, round(self.camera.pixels(width_m, points.item(2))))
        cv2.polylines(
            self.canvas,
            [self._fixed(self.camera.project(points))],
            closed,
            self._ink(colour, label, points),
            thickness=min(width_px, 255),
            shift=_SHIFT,
        )

    def disc(self, centre: tuple[float, float, float], colour: Colour, label: int, *, radii_m: tuple[float, float]) -> None:
        """Fill an ellipse that faces the camera.

        Args:
            centre: Its centre in metres.
            colour: Colour before haze.
            label: Class of the pixels.
            radii_m: Half its width and half its height.
        """
        point = np.array([centre], dtype=np.float64)
        column, row = self._fixed(self.camera.project(point))[0].tolist()
        scale = self.camera.pixels(1 << _SHIFT, centre[2])
        axes = (math.ceil(scale * radii_m[0]), math.ceil(scale * radii_m[1]))
        cv2.ellipse(self.canvas, (column, row), axes, 0, 0, 360, self._ink(colour, label, point), -1, shift=_SHIFT)

    def _ink(self, colour: Colour, label: int, points: NDArray[np.float64]) -> tuple[float, float, float, float]:
        """Colour after haze at the depth midway between the first and the last of the points, and the label."""
        depth = 0.5 * (points.item(2) + points.item(-1))
        red, green, blue = mixed(colour, self._haze, 1.0 - math.exp(-depth / self._visibility_m))
        return (max(red, 0.0), max(green, 0.0), max(blue, 0.0), float(label))

    @staticmethod
    def _fixed(pixels: NDArray[np.float64]) -> NDArray[np.int32]:
        """Pixels as the fixed-point numbers that OpenCV takes."""
        scaled = np.rint(pixels * (1 << _SHIFT))
        return np.minimum(np.maximum(scaled, -_FAR), _FAR).astype(np.int32)
