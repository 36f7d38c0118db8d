"""Miniature copies of CamVid on disk, and `data=NAME` as the command line composes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from PIL import Image

from nas.data import DATASETS

SIZE = (12, 16)


def _frame(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    image, label = rng.integers(0, 256, (*SIZE, 3)), rng.integers(0, 12, SIZE)
    return image.astype(np.uint8), label.astype(np.uint8)


@pytest.fixture(autouse=True)
def _scenes_drawn_once() -> None:
    """Nothing: each test here has its own drawn."""


@pytest.fixture
def frame_of() -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """The image and the stored label of a number."""
    return _frame


@pytest.fixture
def compose_data() -> Callable[..., Any]:
    """The config of `data=NAME` with overrides."""
    conf = Path(__file__).resolve().parents[2] / "conf"
    for name, entry in DATASETS.items():
        ConfigStore.instance().store(group="data", name=f"schema_{name}", node=entry.config)

    def run(name: str, *overrides: str) -> Any:
        with initialize_config_dir(str(conf), version_base="1.3"):
            return OmegaConf.to_object(compose(overrides=[f"+data={name}", *overrides]).data)

    return run


@pytest.fixture
def camvid_tree(tmp_path: Path) -> Path:
    """Folders with five frames a split: names f0 to f4, numbers 0-4, 10-14, 20-24."""
    root = tmp_path / "camvid"
    for offset, split in ((0, "train"), (10, "val"), (20, "test")):
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        for number in range(5):
            image, label = _frame(offset + number)
            Image.fromarray(image).save(root / split / f"f{number}.png")
            Image.fromarray(label).save(root / f"{split}annot" / f"f{number}.png")
    return root


@pytest.fixture
def segnet_tree(camvid_tree: Path) -> Path:
    """The same with list files as in the SegNet copy, in reverse order."""
    for split in ("train", "val", "test"):
        lines = [f"/SegNet/CamVid/{split}/f{number}.png /SegNet/CamVid/{split}annot/f{number}.png" for number in reversed(range(5))]
        (camvid_tree / f"{split}.txt").write_text("\n".join(lines) + "\n\n")
    return camvid_tree
