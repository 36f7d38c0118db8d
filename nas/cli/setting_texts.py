"""The texts of settings: the string literal under each field of a config dataclass, read from its source."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

UNITS_OF_NAMES = (
    (r"_ms$", "ms"),
    (r"_fps$", "frames/s"),
    (r"_secs$|^seconds$", "s"),
    (r"epochs$", "epochs"),
    (r"steps$", "steps"),
)
"""Pattern in a name -> unit."""
UNITS_OF_TEXTS = (
    (r"^\[height, width\]|\bin pixels\b", "pixels"),
    (r"\bin ms\b", "ms"),
    (r"^Seconds\b", "s"),
    (r"^Epochs\b", "epochs"),
    (r"^Steps\b", "steps"),
    (r"^(?:Training )?[Bb]atches\b", "batches"),
    (r"^Images\b", "images"),
)
"""Pattern in the text of a number -> unit."""


def setting_texts(config: type[Any]) -> dict[str, str]:
    """Field -> text of a config dataclass, with the fields that it inherits; a field without a text is left out.

    Args:
        config: The dataclass.
    """
    texts: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if dataclasses.is_dataclass(base):
            texts |= _own_texts(base.__module__).get(base.__qualname__, {})
    return texts


def unit_of(name: str, text: str) -> str | None:
    """The unit of a setting where its name or its text states one.

    >>> unit_of("target_ms", ""), unit_of("crop", "[height, width] of the crop in pixels."), unit_of("lr", "Learning rate.")
    ('ms', 'pixels', None)
    """
    for patterns, stated in ((UNITS_OF_NAMES, name), (UNITS_OF_TEXTS, text)):
        for pattern, unit in patterns:
            if re.search(pattern, stated):
                return unit
    return None


@cache
def _own_texts(module: str) -> dict[str, dict[str, str]]:
    """Class -> field -> text of a module; nothing where the source is not at hand."""
    try:
        source = inspect.getsource(sys.modules[module])
    except (KeyError, OSError, TypeError):  # made at run time, or built in
        return {}
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    return {node.name: dict(_texts_in(node)) for node in classes}


def _texts_in(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, after in zip(node.body, node.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            yield field.target.id, " ".join(after.value.value.split())
