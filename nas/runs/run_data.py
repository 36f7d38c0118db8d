"""The data set of a run, for the stages that come after it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.data import config_from_plain
from nas.data.image_folder import IMAGE_DATASETS
from nas.devices.path_settings import in_home
from nas.errors import ConfigError, DataError
from nas.files.shortening import shorten
from nas.runs import run_config, rundir

log = logging.getLogger("nas")


def run_of(weights: Path) -> Path:
    """The folder of the run that weights or a checkpoint lie in, if they lie in one."""
    folder = weights.parent
    return folder.parent if folder.name == rundir.CHECKPOINT.parent.name else folder


def data_of(run: Path) -> Any:  # noqa: ANN401 - one of the configs of DATASETS
    """The config of the data set that a run states in its `config.yaml`.

    Raises:
        ConfigError: If there is no `config.yaml`, or it states no data set with labels of pixels.
    """
    if not run.is_dir():
        raise ConfigError(f"{run}: no such folder; give run= the folder of a finished nas train")
    if not (run / run_config.CONFIG).is_file():
        raise ConfigError(
            f"data is missing, and there is no {run / run_config.CONFIG} of a run to take it from; "
            "give data=NAME, and where it lies data.root=FOLDER"
        )
    settings = run_config.load_config(run).get("data")
    if not isinstance(settings, Mapping):
        raise ConfigError(
            f"{run / run_config.CONFIG}: data: got {shorten(settings)}, expected the settings of a data set; give data=NAME"
        )
    name = settings.get("name")
    if isinstance(name, str) and name in IMAGE_DATASETS:
        raise ConfigError(
            f"{run} was trained on data={name}, which has classes of whole images, expected labels of pixels; "
            "give a segmentation, or another data=NAME"
        )
    try:
        return config_from_plain(settings)
    except ConfigError as error:
        raise ConfigError(f"{run / run_config.CONFIG}: {error}") from error


def check_root(config: Any, run: Path) -> None:  # noqa: ANN401 - one of the configs of DATASETS
    """Refuse a data set that a run states and that no longer lies there, in words that say where it comes from.

    A relative folder is below the current one, which need not be that of the training: where the run lies elsewhere, that is told.

    Raises:
        DataError: If the folder is not there.
    """
    root = getattr(config, "root", None)
    if root is None:
        return
    folder = Path(in_home(str(root)))
    if not folder.is_dir():
        raise DataError(
            f"data.root: got {root} from {run / run_config.CONFIG}, and there is no such folder; give data.root=FOLDER, where "
            f"data={config.name} lies now"
        )
    if not folder.is_absolute() and not run.resolve().is_relative_to(Path.cwd()):
        log.warning(
            "data.root: got %s from %s, which is %s here; give data.root=FOLDER if the training was started in another folder",
            root,
            run / run_config.CONFIG,
            folder.absolute(),
        )
