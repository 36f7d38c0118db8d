"""Overrides of path settings as one types them: what Hydra's grammar would refuse or read as something else is put in quotes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from nas.devices.path_settings import in_home, path_keys
from nas.files.command_words import override

_SWEEP = re.compile(r"(choice|shuffle|sort|tag)\(.*\)", re.DOTALL)
"""A call of Hydra's grammar that has values in it."""
_PIECES = r"""\s*(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|[^{apart}]+"""
"""A quoted text, or what lies between characters that keep values apart."""


def quoted_paths(
    words: Sequence[str], schema: type[Any], groups: Mapping[str, Mapping[str, type[Any]]], *, sweep: bool
) -> list[str]:
    """The overrides of a verb with the paths in them in quotes, see `quoted_path`.

    Args:
        words: The overrides as they are typed.
        schema: The job dataclass.
        groups: Config group -> choice -> dataclass.
        sweep: Whether they are those of several jobs.
    """
    chosen = {key for group, choices in groups.items() for one in choices.values() for key in path_keys(one, f"{group}.")}
    keys = {*path_keys(schema), *chosen}
    several = sweep or any(word.lower() == "hydra.mode=multirun" for word in words)
    return [quoted_path(word, keys, sweep=several) for word in words]


def quoted_path(word: str, paths: Collection[str], *, sweep: bool) -> str:
    """The override with the path in it in quotes, where without them Hydra would refuse it, or read another value.

    Lists and sweeps stay what they are, unless there is a file or folder of exactly this name.

    Args:
        word: The override as it is typed.
        paths: Keys of the settings that are paths; an override of another one comes back as it is.
        sweep: Whether a comma outside of brackets keeps the values of several jobs apart.
    """
    key, _, text = word.partition("=")
    if key.lstrip("+") not in paths or not text:
        return word
    whole = override(key, text)
    parsed = _parsed(word)
    if parsed is not None:
        value = parsed.value()
        if parsed.is_sweep_override() or isinstance(value, list | dict):
            return whole if _is_there(text) else word
        return whole if isinstance(value, bool | int | float) else word
    if _is_there(text):
        return whole
    apart = r",\[\]()" if _SWEEP.fullmatch(text) else r",\[\]"
    if text[0] == "[" or (sweep and "," in text):
        pieces = f"{key}={re.sub(_PIECES.format(apart=apart), _quoted_piece, text)}"
        return pieces if _parsed(pieces) is not None else word
    return word if text[0] in "\"'" else whole


def _quoted_piece(match: re.Match[str]) -> str:
    piece = match[0].strip()
    return match[0] if not piece or _parsed(f"path={piece}") is not None else override("path", piece).removeprefix("path=")


def _parsed(word: str) -> Override | None:
    """What Hydra reads; None: it refuses the word."""
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def _is_there(text: str) -> bool:
    """Whether a file or folder has this name."""
    exists: Callable[[str], bool] = os.path.lexists
    try:
        return exists(in_home(text))
    except ValueError:  # no such user, or a zero byte
        return False
