"""A setting's value in the form in which YAML files and command lines take it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def value_text(value: Any) -> str:  # noqa: ANN401
    """A value as the command line takes it.

    >>> value_text([1, 0.001, None]), value_text(True), value_text({"a": "b"})
    ('[1,0.001,null]', 'true', '{a:b}')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(value_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{value_text(one)}' for key, one in value.items())}}}"
    return str(value)
