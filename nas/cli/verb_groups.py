"""The config groups of a verb: their choices and dataclasses. A group that a command line cannot use is not loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Choices = Mapping[str, type[Any]]
"""Choice -> its dataclass."""
OWN_CONFIGS = ("--config", "-cp", "-cn", "-cd")
"""Beginnings of flags that name configs of the user, which may use any group."""


def _spaces() -> Choices:
    from search_spaces import searched_spaces

    return {choice: entry.config for choice, entry in searched_spaces().items()}


def _data_sets() -> Choices:
    from nas.data import DATASETS
    from nas.data.image_folder import IMAGE_DATASETS

    return {**{choice: entry.config for choice, entry in DATASETS.items()}, **IMAGE_DATASETS}


def _loggers() -> Choices:
    from nas.runs.trackers import TRACKERS

    return {choice: entry.config for choice, entry in TRACKERS.items()}


GROUPS: dict[str, Callable[[], Choices]] = {"space": _spaces, "data": _data_sets, "logger": _loggers}


def groups_of(schema: type[Any], words: Sequence[str]) -> dict[str, Choices]:
    """The groups that a command line may use: those that the verb has a setting for, and those that it names all the same.

    Args:
        schema: The job dataclass.
        words: What was given after the verb.
    """
    fields = {field.name for field in dataclasses.fields(schema)}
    every = any(word.startswith(OWN_CONFIGS) for word in words)
    return {
        name: choices()
        for name, choices in GROUPS.items()
        if every or name in fields or any(word.lstrip("+~").startswith(name) for word in words)
    }
