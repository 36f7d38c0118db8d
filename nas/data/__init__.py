"""Data sets by name, and what makes batches of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nas.data.camvid import CamVidConfig, camvid_dataset
from nas.data.cityscapes import CityscapesConfig, cityscapes_dataset
from nas.data.classes.cityscapes_labels import CITYSCAPES
from nas.data.classes.class_set import CAMVID, ClassSet
from nas.data.dataset import SegmentationDataset, check_split
from nas.data.folder import FolderConfig, folder_classes, folder_dataset
from nas.data.synthetic import SyntheticConfig, SyntheticDataset
from nas.errors import ConfigError
from nas.files.shortening import shorten


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A data set: its config, what builds one split of it from that config, and its classes, which need no images.

    The config is a dataclass with at least `name`, the key of the entry, and `workers`.
    """

    config: type
    build: Callable[[Any, str], SegmentationDataset]
    classes: Callable[[Any], ClassSet]


DATASETS: dict[str, DatasetEntry] = {
    "synthetic": DatasetEntry(SyntheticConfig, SyntheticDataset, lambda _: CAMVID),
    "camvid": DatasetEntry(CamVidConfig, camvid_dataset, lambda _: CAMVID),
    "cityscapes": DatasetEntry(CityscapesConfig, cityscapes_dataset, lambda _: CITYSCAPES),
    "folder": DatasetEntry(FolderConfig, folder_dataset, lambda config: folder_classes(config).classes),
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
    return _entry(config).build(config, split)


def data_classes(config: Any) -> ClassSet:  # noqa: ANN401 - one of the configs of DATASETS
    """The classes of the data set that a config describes; its images need not be there.

    Raises:
        ConfigError: As `build_dataset`.
        DataError: If the classes are stated in a file that is missing or wrong.
    """
    return _entry(config).classes(config)


def config_from_plain(settings: Mapping[str, Any]) -> Any:  # noqa: ANN401 - one of the configs of DATASETS
    """The config of a data set from plain data, as `config.yaml` of a run has it.

    Raises:
        ConfigError: If it names no data set, or a setting that this data set does not have.
    """
    name = settings.get("name")
    if not isinstance(name, str) or name not in DATASETS:
        raise ConfigError(f"data.name: got {shorten(name)}, expected one of {', '.join(DATASETS)}")
    try:
        return DATASETS[name].config(**settings)
    except TypeError as error:
        raise ConfigError(f"data: {error}; expected the settings of data={name}") from error


def _entry(config: Any) -> DatasetEntry:  # noqa: ANN401 - one of the configs of DATASETS
    """The data set that a config belongs to."""
    name = getattr(config, "name", None)
    if not isinstance(name, str) or name not in DATASETS:
        raise ConfigError(f"data.name: got {shorten(name)}, expected one of {', '.join(DATASETS)}")
    entry = DATASETS[name]
    if not isinstance(config, entry.config):
        got = type(config).__name__
        raise ConfigError(f"data.name: got {name!r} with the settings of {got}; leave data.name alone and set data={name}")
    return entry
