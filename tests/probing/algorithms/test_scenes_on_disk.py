"""Scenes as files are those that are drawn."""

from pathlib import Path

import numpy as np

from nas.data.folder import FolderConfig, folder_dataset
from nas.data.synthetic import SyntheticConfig, SyntheticDataset
from nas.probing.algorithms.scenes_on_disk import CLASSES, DONE, SPLITS, write_scenes

SIZE = [24, 32]


def test_a_folder_holds_the_same_images_and_labels_and_is_written_once(tmp_path: Path):
    config = SyntheticConfig(size=SIZE, train=3, val=2)
    write_scenes(config, tmp_path)
    seen = set()
    for split in SPLITS:
        drawn, stored = (
            SyntheticDataset(config, split),
            folder_dataset(FolderConfig(root=str(tmp_path), classes=CLASSES, size=SIZE), split),
        )
        assert drawn.classes == stored.classes
        assert len(drawn) == len(stored) == config.count(split)
        for index in range(len(drawn)):
            for one, other in zip(drawn.load(index), stored.load(index), strict=True):
                assert np.array_equal(one, other)
            seen |= set(np.unique(drawn.load(index)[1]))
    assert {0, 255} <= seen  # void is stored, too
    written = sorted(tmp_path.rglob("*.png"))
    written[0].unlink()
    write_scenes(config, tmp_path)
    assert not written[0].exists()
    (tmp_path / DONE).unlink()
    write_scenes(config, tmp_path)
    assert written[0].exists()
