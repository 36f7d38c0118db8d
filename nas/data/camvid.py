"""CamVid: driving frames with dense labels of 11 classes (Brostow et al., 2009), in the split of the SegNet copy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.data.classes.class_set import CAMVID
from nas.data.dataset import IGNORE_INDEX
from nas.data.files.camvid_files import find_pairs
from nas.data.files.label_code import IdCode
from nas.data.files.pair_dataset import PairConfig, PairDataset
from nas.devices.path_settings import path_setting

VOID_ID = 11
"""Id of unlabelled pixels in the files; `IGNORE_INDEX` is taken for the same."""

CAMVID_CODE = IdCode(
    classes={**{index: index for index in range(VOID_ID)}, VOID_ID: IGNORE_INDEX, IGNORE_INDEX: IGNORE_INDEX},
    expected=f"0-10, {VOID_ID} or {IGNORE_INDEX} (void)",
    fix="use the label maps of the SegNet copy of CamVid",
)
"""Code of CamVid's label maps."""


@dataclass(kw_only=True, slots=True)
class CamVidConfig(PairConfig):
    """CamVid on disk."""

    name: str = "camvid"
    """Name of the data set."""
    root: str = path_setting("???")
    """Folder that holds train/ and trainannot/ (val, test likewise), or train.txt, val.txt and test.txt."""
    cache: bool = True
    """Keep decoded and resized images in memory (4 bytes a pixel)."""


def camvid_dataset(config: CamVidConfig, split: str) -> PairDataset:
    """One split of CamVid.

    Raises:
        DataError: If it does not lie there, or an image lacks its label.
    """
    found = find_pairs(Path(config.root), split)
    return PairDataset(found.pairs, split, classes=CAMVID, code=CAMVID_CODE, config=config, passed_over=found.passed_over)
