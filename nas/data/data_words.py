"""Words of a command line that choose a data set with the same settings, and the split to evaluate on."""

from __future__ import annotations

import dataclasses
from typing import Any

from nas.data import build_dataset
from nas.errors import DataError
from nas.files.command_words import setting

OPEN_DATA = "data=NAME"
"""Stands for the data set in a next command, where nothing says which."""


def data_words(config: Any) -> list[str]:  # noqa: ANN401 - the config of any data set
    """The words that make a config of a data set again, quoted for a shell: data=NAME and what differs from its defaults.

    >>> from nas.data.synthetic import SyntheticConfig
    >>> data_words(SyntheticConfig(size=[48, 64], cache=False))
    ['data=synthetic', "'data.size=[48,64]'", 'data.cache=false']
    """
    words = [setting("data", config.name)]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if field.name != "name" and value != default:
            words.append(setting(f"data.{field.name}", value))
    return words


def split_words(config: Any) -> list[str]:  # noqa: ANN401 - the config of any data set
    """The word that chooses the split to evaluate on, where it is not `test`: a data set may have none with labels.

    >>> from nas.data.synthetic import SyntheticConfig
    >>> split_words(SyntheticConfig())
    []
    """
    try:
        return [] if build_dataset(config, "test").no_truth is None else ["split=val"]
    except DataError:
        return ["split=val"]
