"""Miniature copies of data sets on disk, with random pixels from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (24, 32)
CITIES = {"train": ("aachen", "ulm"), "val": ("lindau",), "test": ("berlin",), "train_extra": ("erlangen",)}


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def noise(seed: int, size: Sequence[int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def scene(seed: int, size: Sequence[int] = SIZE) -> np.ndarray:
    """Blocks of 12x12 pixels of random colours under some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 236, (-(-size[0] // 12), -(-size[1] // 12), 3)).repeat(12, axis=0).repeat(12, axis=1)
    return (coarse[: size[0], : size[1]] + rng.integers(0, 20, (*size, 3))).astype(np.uint8)


def blocks(seed: int, values: Sequence[int], size: Sequence[int] = SIZE) -> np.ndarray:
    """A map of blocks of 4x4 pixels with values drawn from a list."""
    small = np.random.default_rng(seed).choice(np.array(values), (-(-size[0] // 4), -(-size[1] // 4)))
    return small.repeat(4, axis=0).repeat(4, axis=1)[: size[0], : size[1]].astype(np.uint8)


def write_cityscapes(
    root: Path,
    *,
    num: int = 3,
    size: Sequence[int] = SIZE,
    labels: str = "gtFine",
    folders: Sequence[str] = ("train", "val", "test"),
) -> Path:
    """`num` images a folder, cities in turn; labels hold every label id, those of test are all 3 (out of roi)."""
    for folder in folders:
        for number in range(num):
            city = CITIES[folder][number % len(CITIES[folder])]
            stem, seed = f"{city}/{city}_{number:06d}_000019", 100 * list(CITIES).index(folder) + number
            save(root / "leftImg8bit" / folder / f"{stem}_leftImg8bit.png", scene(seed, size))
            ids = [3] if folder == "test" else range(34)
            save(root / labels / folder / f"{stem}_{labels}_labelIds.png", blocks(seed, ids, size))
    return root


CLASSES = """\
classes:
  - {name: road, id: 0, palette: [9, 8, 7]}
  - {name: car, ids: [1, 5]}
  - {name: tree, id: 9}
ignore: [255, 4]
"""
IDS = (0, 1, 5, 9, 255, 4)


def write_folder(root: Path, *, num: int = 3, size: Sequence[int] = SIZE) -> Path:
    """The default layout of data=folder with three classes of four ids, and two ignored ids."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.yaml").write_text(CLASSES)
    for offset, split in enumerate(("train", "val", "test")):
        for number in range(num):
            seed = 100 * offset + number
            save(root / "images" / split / f"f{number}.png", noise(seed, size))
            save(root / "masks" / split / f"f{number}.png", blocks(seed, IDS, size))
    return root


def write_camvid(root: Path, *, num: int = 3, size: Sequence[int] = SIZE) -> Path:
    """CamVid's folders, with all classes and void."""
    for offset, split in enumerate(("train", "val", "test")):
        for number in range(num):
            save(root / split / f"f{number}.png", scene(100 * offset + number, size))
            save(root / f"{split}annot" / f"f{number}.png", blocks(100 * offset + number, range(12), size))
    return root


def write_kitti(root: Path, *, num: int = 10, size: Sequence[int] = SIZE) -> Path:
    """The training folder of KITTI semantics."""
    for number in range(num):
        save(root / f"training/image_2/{number:06d}_10.png", scene(number, size))
        save(root / f"training/semantic/{number:06d}_10.png", blocks(number, range(34), size))
    return root


def write_bdd100k(root: Path, *, num: int = 3, size: Sequence[int] = SIZE) -> Path:
    """The present archives of BDD100K, whose test split has no labels."""
    for offset, split in enumerate(("train", "val")):
        for number in range(num):
            seed = 100 * offset + number
            save(root / "images/10k" / split / f"{split}-{number}.jpg", scene(seed, size))
            save(root / "labels/sem_seg/masks" / split / f"{split}-{number}.png", blocks(seed, [*range(19), 255], size))
    return root
