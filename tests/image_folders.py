"""Small folders of drawn images with a class each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from nas.data.street import draw_scene

SIZE = (40, 48)
COUNTS = {"train": 8, "val": 4}


def write_scenes(root: Path, counts: Mapping[str, int] | None = None) -> Path:
    """Street scenes as they are, and upside down: ROOT/train/upright/0.png ..."""
    for split, count in (counts or COUNTS).items():
        for number in range(count):
            image, _ = draw_scene(np.random.default_rng([len(split), number]), SIZE)
            for name, picture in (("upright", image), ("upside_down", image[::-1])):
                save(root / split / name / f"{number}.png", picture)
    return root


def write_colours(root: Path, classes: int, counts: Mapping[str, int] | None = None) -> Path:
    """Noisy images of one grey value a class."""
    for split, count in (counts or {"train": 2, "val": 2}).items():
        for label in range(classes):
            for number in range(count):
                rng = np.random.default_rng([len(split), label, number])
                save(root / split / f"grey_{label}" / f"{number}.jpg", rng.integers(0, 9, (*SIZE, 3)) + label * 240 // classes)
    return root


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(picture).astype(np.uint8)).save(path)
