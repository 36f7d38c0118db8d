"""Words of a command line that choose a data set with the same settings."""

from __future__ import annotations

import dataclasses
from typing import Any

from nas.files.command_words import setting


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
