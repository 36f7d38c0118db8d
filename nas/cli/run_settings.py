"""Settings of an earlier run under those that are given: `run=RUN data.size=[H,W]` is the data set of the run at another size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig

from nas.cli.composing_errors import SCHEMA_PREFIX
from nas.devices.path_settings import in_home
from nas.errors import ConfigError

GROUP = "data"
OF_RUN = f"{SCHEMA_PREFIX}of_run"
"""Choice of the group that stands for the data set of the run; nobody types it."""


def loader_of(schema: type[Any], search_path: ConfigSearchPath) -> ConfigLoaderImpl:
    """What composes the config of a verb: its settings, and those of an earlier run if the verb takes one for data.

    Args:
        schema: The job dataclass.
        search_path: Where configs lie.
    """
    names = {field.name for field in dataclasses.fields(schema)}
    return RunSettingsLoader(search_path) if {"run", GROUP} <= names else ConfigLoaderImpl(search_path)


class RunSettingsLoader(ConfigLoaderImpl):
    """Composes configs in which data.KEY=VALUE without data=NAME replaces a setting of the data set of a run.

    It works on each job of a sweep, also in processes of a launcher, for the run itself may be swept over.
    """

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose a config; its list of overrides is that which was given."""
        given = OverridesParser.create(config_loader=self).parse_overrides(overrides)
        of_data = [one for one in given if one.key_or_group.startswith(f"{GROUP}.")]
        composed = overrides
        if of_data and not any(one.key_or_group == GROUP for one in given):
            if run_mode == RunMode.MULTIRUN:  # what concerns the sweep itself; its jobs are composed one by one
                composed = [word for word, one in zip(overrides, given, strict=True) if one not in of_data]
            else:
                _register_data_of(_folder(given, of_data[0]))
                composed = [f"{GROUP}={OF_RUN}", *overrides]
        cfg = super().load_configuration(config_name, composed, run_mode, from_shell, validate_sweep_overrides)
        cfg.hydra.overrides.task = [one.input_line for one in given if not one.is_hydra_override()]
        return cfg


def _folder(given: Sequence[Override], asking: Override) -> Path:
    """The folder of the run whose data set the overrides change."""
    from nas.runs.run_data import run_of

    values: Mapping[str, Any] = {one.key_or_group: one.value() for one in given}
    run, file = values.get("run"), values.get("weights", values.get("onnx"))
    if run is None and file is None:
        raise ConfigError(f"{asking.key_or_group}: got it without a data set; give {GROUP}=NAME, or run=FOLDER of a nas train")
    return Path(in_home(str(run))) if run is not None else run_of(Path(in_home(str(file))))


def _register_data_of(run: Path) -> None:
    """Make the data set of a run a choice of the group; registering again replaces."""
    from nas.runs.run_data import data_of  # loads the data sets, which a verb without data does without

    ConfigStore.instance().store(group=GROUP, name=OF_RUN, node=data_of(run))
