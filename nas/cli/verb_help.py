"""The text of `nas VERB --help`: the config groups with their choices, and every setting with value, unit and text by section."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf

from nas.cli.composing_errors import SCHEMA_PREFIX
from nas.cli.recipes import GROUP as RECIPES
from nas.cli.setting_texts import setting_texts, unit_of
from nas.files.value_text import value_text

SHIPPED_GROUPS = ("data", "logger", "recipe", "space")
"""The config groups of `conf/`; a verb has some of them."""
LEAST_WIDTH, MOST_WIDTH = 60, 120
"""Columns that the text takes, however wide the terminal is."""
OTHER_FLAGS = (
    "Other flags: --cfg job prints the settings as YAML, --multirun runs every combination of KEY=A,B, "
    "--info shows how the config is made; --hydra-help describes them."
)
INDENT, TEXT_INDENT = "  ", "      "


@dataclass(frozen=True, slots=True)
class ConfigGroup:
    """A config group of a verb.

    Args:
        choices: What can be chosen.
        chosen: What is chosen; empty: nothing.
    """

    choices: Sequence[str]
    chosen: Sequence[str]


def help_lines(verb: str, line: str, cfg: DictConfig, groups: Mapping[str, ConfigGroup], *, width: int | None = None) -> list[str]:
    """The help of a verb.

    Args:
        verb: Name of the verb, with its sub-verb.
        line: What it does.
        cfg: The composed config, its dataclass as type; values are shown as they are there.
        groups: Config groups by name.
        width: Columns; None: those of the terminal.
    """
    width = min(max(width or shutil.get_terminal_size((100, 24)).columns, LEAST_WIDTH), MOST_WIDTH)
    lines = [f"nas {verb} [KEY=VALUE ...]: {line}", ""]
    if groups:
        lines += ["Groups, GROUP=CHOICE; * is chosen:", *_group_lines(groups, width), ""]
    lines += ["Settings, KEY=VALUE; ??? must be given:", *_section(cfg, "", width), ""]
    return [*lines, *textwrap.wrap(OTHER_FLAGS, width)]


def _group_lines(groups: Mapping[str, ConfigGroup], width: int) -> Iterator[str]:
    longest = max(map(len, groups))
    for name, group in groups.items():
        words = ", ".join(f"*{choice}" if choice in group.chosen else choice for choice in group.choices)
        start = f"{INDENT}{name:{longest}}  "
        yield from textwrap.wrap(words, width, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)


def _section(cfg: DictConfig, prefix: str, width: int) -> Iterator[str]:
    """Its own settings first, then the sections in it."""
    schema = OmegaConf.get_type(cfg)
    texts = setting_texts(schema) if isinstance(schema, type) else {}
    keys = [str(key) for key in cfg if key != "hydra"]
    sections = {key: node for key in keys if (node := _as_section(cfg, key)) is not None}
    for key in keys:
        if key not in sections:
            yield from _setting(f"{prefix}{key}", _plain(cfg, key), texts.get(key, ""), width)
    for key, node in sections.items():
        yield ""
        title = f"{prefix}{key}: {_title(node, texts.get(key, ''))}"
        yield from textwrap.wrap(title, width, break_on_hyphens=False)
        yield from _section(node, f"{prefix}{key}.", width)


def _as_section(cfg: DictConfig, key: str) -> DictConfig | None:
    """The mapping under a key that has settings of its own; an empty mapping is a value."""
    node = cfg._get_node(key)
    is_section = isinstance(node, DictConfig) and not node._is_none() and not node._is_missing() and len(node) > 0
    return node if is_section and isinstance(node, DictConfig) else None


def _title(node: DictConfig, text: str) -> str:
    """The text of the section, and what its dataclass says of itself where another one could have been chosen."""
    schema = OmegaConf.get_type(node)
    chosen = "name" in node and isinstance(schema, type) and schema is not dict
    about = (schema.__doc__ or "").strip().partition("\n")[0] if chosen and isinstance(schema, type) else ""
    return " ".join(one for one in (text, about) if one)


def _setting(key: str, value: Any, text: str, width: int) -> Iterator[str]:
    unit = unit_of(key.rpartition(".")[2], text)
    stated = f"{key}={value_text(value)}" + (f"  [{unit}]" if unit else "")
    yield f"{INDENT}{stated}"  # in one piece, so that it can be copied
    yield from textwrap.wrap(text, width, initial_indent=TEXT_INDENT, subsequent_indent=TEXT_INDENT, break_on_hyphens=False)


def _plain(cfg: DictConfig, key: str) -> Any:
    node = cfg._get_node(key)
    if OmegaConf.is_missing(cfg, key):
        return "???"
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else cfg[key]


def config_groups(app_hydra: Hydra, chosen: Mapping[str, Any]) -> dict[str, ConfigGroup]:
    """The config groups of a verb, and those that the user's own config folder adds to all of them."""
    # Asking the loader would copy every config for every question.
    assert isinstance(app_hydra.config_loader, ConfigLoaderImpl)
    repository = app_hydra.config_loader.repository
    own = [name for name in repository.get_group_options("", ObjectType.GROUP) if name not in (*SHIPPED_GROUPS, "hydra")]
    recipes = sorted(name.removesuffix(".yaml") for name in ConfigStore.instance().repo.get(RECIPES, {}))
    groups = {}
    for name in sorted({*own, *(name for name in chosen if not name.startswith("hydra/"))}):
        options = repository.get_group_options(name, ObjectType.CONFIG)
        taken = chosen.get(name) or []
        groups[name] = ConfigGroup(
            choices=sorted({option for option in options if not option.startswith(SCHEMA_PREFIX)}) if name != RECIPES else recipes,
            chosen=[taken] if isinstance(taken, str) else list(taken),
        )
    return groups
