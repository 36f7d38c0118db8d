"""Street scenes drawn from a seed: needs nothing on disk, any size, any number."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nas.data.classes.palette import CAMVID_CLASSES, CAMVID_PALETTE
from nas.data.dataset import SPLITS, Frame, SegmentationDataset, check_index, check_split
from nas.data.files.frame_cache import FrameCache
from nas.data.scan_facts import ScanFacts
from nas.data.street import draw_scene
from nas.errors import ConfigError
from nas.files.value_text import value_text


@dataclass(kw_only=True, slots=True)
class SyntheticConfig:
    """Street scenes drawn by the project itself."""

    name: str = "synthetic"
    """Name of the data set."""
    seed: int = 0
    """Seed of the scenes, independent of the seed of the run."""
    size: list[int] = field(default_factory=lambda: [128, 160])
    """[height, width] of the images in pixels."""
    train: int = 256
    """Images in the training split."""
    val: int = 32
    """Images in the validation split."""
    test: int = 32
    """Images in the test split."""
    every: int = 1
    """Use every n-th scene of each split."""
    cache: bool = True
    """Keep drawn images in memory (4 bytes a pixel); without, they are drawn again in every epoch."""
    workers: int = 0
    """Worker processes that prepare batches; 0: none."""

    def __post_init__(self) -> None:
        """Check the values."""
        if len(self.size) != 2 or min(self.size) < 1:
            raise ConfigError(f"data.size: got {value_text(self.size)}, expected [HEIGHT,WIDTH] in pixels, both at least 1")
        for key in (*SPLITS, "every", "seed", "workers"):
            value, least = getattr(self, key), int(key not in ("seed", "workers"))
            if value < least:
                raise ConfigError(f"data.{key}: got {value}, expected at least {least}")

    def count(self, split: str) -> int:
        """Images of a split that are in use."""
        numbers = {"train": self.train, "val": self.val, "test": self.test}
        return -(-numbers[check_split(split)] // self.every)


class SyntheticDataset(SegmentationDataset):
    """Street scenes; each is a pure function of (seed, split, index, size).

    Args:
        config: What to draw.
        split: train, val or test; no scene is in two of them.
    """

    def __init__(self, config: SyntheticConfig, split: str) -> None:
        self.split = check_split(split)
        self.classes = CAMVID_CLASSES
        self.palette = CAMVID_PALETTE
        self._seed = config.seed
        self._count = config.count(split)
        self._every = config.every
        self._size = (config.size[0], config.size[1])
        self._cache = FrameCache(self._count, self._size) if config.cache else None

    def __len__(self) -> int:
        """Number of scenes."""
        return self._count

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self._size

    def name(self, index: int) -> str:
        """`SPLIT_NUMBER`."""
        check_index(index, self._count)
        return f"{self.split}_{index * self._every:05d}"

    def load(self, index: int) -> Frame:
        """The scene, drawn or remembered."""
        check_index(index, self._count)
        return self._draw(index) if self._cache is None else self._cache.get(index, self._draw)

    def scan(self) -> ScanFacts:
        """Nothing to check, and nothing is drawn: there are no files, and the config has checked itself."""
        return ScanFacts(self._count)

    def _draw(self, index: int) -> Frame:
        number = index * self._every
        return draw_scene(np.random.default_rng([self._seed, SPLITS.index(self.split), number]), self._size)
