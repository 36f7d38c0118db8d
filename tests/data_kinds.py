"""A small copy of every data set that labels pixels, and the words that choose it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.label_trees import write_bdd100k, write_camvid, write_cityscapes, write_folder, write_kitti

SIZE = (48, 64)
WRITERS: dict[str, Callable[..., Path]] = {
    "camvid": write_camvid,
    "cityscapes": write_cityscapes,
    "folder": write_folder,
    "kitti": write_kitti,
    "bdd100k": write_bdd100k,
}
KINDS = ("synthetic", *WRITERS)


def words_of(kind: str, root: Path) -> list[str]:
    """The words that choose a data set, which is written below a folder."""
    if kind == "synthetic":
        return ["data=synthetic", f"data.size=[{SIZE[0]},{SIZE[1]}]", "data.train=4", "data.val=2", "data.test=3"]
    WRITERS[kind](root, size=SIZE)
    size = [f"data.size=[{SIZE[0]},{SIZE[1]}]"] if kind == "kitti" else []
    return [f"data={kind}", f'data.root="{root}"', *size]
