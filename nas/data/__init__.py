"""Data sets by name, and what makes batches of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nas.data.camvid import CamVidConfig, CamVidDataset
from nas.data.dataset import SegmentationDataset, check_split
from nas.data.synthetic import SyntheticConfig, SyntheticDataset
from nas.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A data set: its config, and what builds one split of it from that config.

    The config is a dataclass with at least `name`, the key of the entry, and `workers`.
    """

    config: type
    build: Callable[[Any, str], SegmentationDataset]


DATASETS: dict[str, DatasetEntry] = {
    "synthetic": DatasetEntry(SyntheticConfig, SyntheticDataset),
    "camvid": DatasetEntry(CamVidConfig, CamVidDataset),
}
"""Every data set that `data=` knows."""


def build_dataset(config: Any, split: str) -> SegmentationDataset:  # noqa: ANN401 - one of the configs of DATASETS
    """One split of the data set that a config describes.

    Args:
        config: An instance of the config of an entry of `DATASETS`.
        split: train, val or test.

    Raises:
        ConfigError: If the config names no data set, or another one than it belongs to.
        DataError: If the split is unknown, or the data are not where they should be.
    """
    check_split(split)
    name = getattr(config, "name", None)
    if name not in DATASETS:
        raise ConfigError(f"data.name: got {name!r}, expected one of {', '.join(DATASETS)}")
    entry = DATASETS[name]
    if not isinstance(config, entry.config):
        got = type(config).__name__
        raise ConfigError(f"data.name: got {name!r} with the settings of {got}; leave data.name alone and set data={name}")
    return entry.build(config, split)
