"""From flat painted colours to something like a photograph: texture, light, blur, noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from nas.data.street.labels import BUILDING, FENCE, PAVEMENT, ROAD, SKY, TREE

_COARSE = {SKY: 0.05, BUILDING: 0.05, ROAD: 0.07, PAVEMENT: 0.06, TREE: 0.12, FENCE: 0.06}
"""Amplitude of the slow brightness variation, as a share of the colour; 0.03 for all other classes."""
_MIDDLE = {SKY: 0.01, BUILDING: 0.04, ROAD: 0.03, PAVEMENT: 0.04, TREE: 0.22, FENCE: 0.06}
"""The same at the size of leaves and patches."""
_FINE = {SKY: 0.0, BUILDING: 0.04, ROAD: 0.05, PAVEMENT: 0.05, TREE: 0.14, FENCE: 0.05}
"""The same from pixel to pixel."""


def finish(painted: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Photograph the painted scene.

    Args:
        painted: Flat colours [H, W, 3].
        labels: Classes [H, W]; they decide the texture.
        rng: Everything random.

    Returns:
        The image [H, W, 3].
    """
    tint = (rng.uniform(0.72, 1.22) * rng.uniform(0.93, 1.07, 3)).astype(np.float32)
    blur_px, noise = float(rng.uniform(0.25, 0.75)), float(rng.uniform(1.5, 6.0))
    height, width = labels.shape
    brightness = _illumination(rng, (height, width))
    for amplitudes, rows in ((_COARSE, 7), (_MIDDLE, 60)):
        brightness += _per_class(amplitudes)[labels] * _smooth_noise(rng, (height, width), rows)
    brightness += _per_class(_FINE)[labels] * rng.standard_normal((height, width), dtype=np.float32)
    image = painted.astype(np.float32) * brightness[..., None] * tint
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur_px), dtype=np.float32)
    image += noise * rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(np.clip(np.rint(image), 0, 255), dtype=np.uint8)


def _per_class(amplitudes: dict[int, float]) -> NDArray[np.float32]:
    """A look-up table [256] from class to amplitude."""
    table = np.full(256, 0.03, dtype=np.float32)
    table[list(amplitudes)] = list(amplitudes.values())
    return table


def _smooth_noise(rng: np.random.Generator, size: tuple[int, int], rows: int) -> NDArray[np.float32]:
    """Noise [H, W] that varies over 1 / rows of the height: a coarse random grid, enlarged."""
    height, width = size
    grid = rng.standard_normal((rows, rows * 4 // 3), dtype=np.float32)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _illumination(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Brightness [H, W] of the light: a slope across the picture and darker corners."""
    height, width = size
    across = np.linspace(-1, 1, width, dtype=np.float32)[None]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope, corner = rng.uniform(-0.1, 0.1), rng.uniform(0.0, 0.1)
    return np.asarray(1 + slope * across - corner * (across**2 + down**2), dtype=np.float32)
