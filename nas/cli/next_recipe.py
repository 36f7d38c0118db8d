"""The recipe of a search in the command that goes on from it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig

from nas.cli.recipes import GROUP, read_recipes
from nas.files.command_words import setting
from nas.files.shipped import conf_dir


def with_recipe(lines: Sequence[str], job: Any, following: type[Any], keys: Sequence[str]) -> list[str]:  # noqa: ANN401
    """Lines of a summary, the recipes chosen added to the last one if they hold settings of the verb that it names.

    A recipe whose settings of the data differ from those of the job, which the line states as far as they are no defaults, is left
    out: it would change them.

    Args:
        lines: The summary; its last line is the next command.
        job: What was done.
        following: The job dataclass of the verb that follows.
        keys: What a recipe may hold.
    """
    names = _chosen() if HydraConfig.initialized() else []
    known = read_recipes([conf_dir()], [field.name for field in dataclasses.fields(following)], keys).configs
    words = [setting(GROUP, name) for name in names if name in known and _keeps_data(known[name].get("data", {}), lines[-1], job)]
    return [*lines[:-1], " ".join([lines[-1], *words])] if len(words) == 1 else list(lines)


def _chosen() -> list[str]:
    """The recipes of the job; of a list of them Hydra tells the override alone."""
    config = HydraConfig.get()
    if isinstance(chosen := config.runtime.choices.get(GROUP), str):
        return [chosen]
    given = [word for word in config.overrides.task if word.lstrip("+").startswith(f"{GROUP}=")]
    return re.findall(r"[^,\[\]\s'\"]+", given[-1].partition("=")[2]) if given else []


def _keeps_data(stated: Any, line: str, job: Any) -> bool:  # noqa: ANN401
    """Whether a command states all settings of the data that a recipe states, or the recipe's are the same."""
    return all(f"data.{key}=" in line or getattr(job.data, key, None) == value for key, value in dict(stated or {}).items())
