"""Settings given as KEY=VALUE on top of a job that is made in Python, for what no command line composes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from nas.errors import ConfigError

Job = TypeVar("Job")


def with_settings(job: Job, words: Sequence[str]) -> Job:
    """The job with other settings, checked as those of a command line are.

    Args:
        job: A dataclass of settings, sections among them.
        words: KEY=VALUE each, sections with dots; values as in YAML.

    Raises:
        UserError: If there is no such key, or a value does not fit it.
    """
    merged = OmegaConf.structured(job)
    try:
        for word in words:
            merged = _merged(merged, word)
        return cast("Job", OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise ConfigError(_reason(error)) from error


def _merged(config: DictConfig, word: str) -> DictConfig:
    key, _, text = word.partition("=")
    if text == "???":  # which merging passes over
        raise ConfigError(f"{key}: got ???, expected a value")
    try:
        merged = OmegaConf.merge(config, OmegaConf.from_dotlist([word]))
    except (ConfigKeyError, ConfigAttributeError) as error:
        raise ConfigError(f"{error.full_key or key}: there is no such key") from error
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(f"{key}: got {text!r}: {_reason(error)}") from error
    return cast("DictConfig", merged)


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0]
