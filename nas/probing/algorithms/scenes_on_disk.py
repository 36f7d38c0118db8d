"""The images of a benchmark as files, so that many searches do not draw them anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas.data.synthetic import SyntheticConfig, SyntheticDataset
from nas.files.atomic import write_bytes_atomic, write_text_atomic
from nas.reports.picture_bytes import png_bytes

DONE = "complete"
"""A file that is there once all others are."""
CLASSES = "camvid"
"""What `data.classes` is for these files."""
VOID = 11
"""What stands in masks where no class does, as in CamVid's."""
SPLITS = ("train", "val")


def write_scenes(config: SyntheticConfig, root: Path) -> None:
    """Write the scenes of training and validation as data=folder reads them; nothing where they are there.

    Args:
        config: The scenes.
        root: Folder to write to.
    """
    if (root / DONE).is_file():
        return
    for split in SPLITS:
        scenes = SyntheticDataset(config, split)
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(len(scenes)):
            image, label = scenes.load(index)
            name = f"{scenes.name(index)}.png"
            write_bytes_atomic(root / "images" / split / name, png_bytes(image), durable=False)
            write_bytes_atomic(root / "masks" / split / name, png_bytes(np.minimum(label, VOID)), durable=False)
    write_text_atomic(root / DONE, "")
