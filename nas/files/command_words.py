"""Words of a command line that name a setting: quoted for Hydra, which reads a value by a grammar of its own, and for a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.+@%-]*")
"""What Hydra reads as the same string without quotes, and a shell too, but for the words below."""
_OTHER_KINDS = re.compile(r"true|false|null|inf|nan|\.[0-9_]*([eE][0-9_]*)?|[+-]?\?+", re.IGNORECASE)
"""Words of those letters that are no strings."""


def setting(key: str, value: Any) -> str:  # noqa: ANN401
    """The word KEY=VALUE to type: a POSIX shell and Hydra take it, and the setting gets this value and no other.

    Args:
        key: The setting.
        value: A string, a path, a number, a truth value, None, or a list or a mapping of those.

    >>> print(setting("run", "runs/a"), setting("data.root", "/a b/c=d"), setting("deploy.input", (96, 128)))
    run=runs/a 'data.root="/a b/c=d"' 'deploy.input=[96,128]'
    """
    return shlex.quote(override(key, value))


def override(key: str, value: Any) -> str:  # noqa: ANN401
    """The same as one argument of a process, which no shell reads.

    >>> print(override("data.root", "/a b/c=d"))
    data.root="/a b/c=d"
    """
    return f"{key}={_value(value)}"


def _value(value: Any) -> str:  # noqa: ANN401
    """A value in the grammar of Hydra's overrides."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, str | Path):
        return _string(str(value))
    return "[" + ",".join(map(_value, value)) + "]"


def _string(text: str) -> str:
    """A string, in quotes where it needs them."""
    if _PLAIN.fullmatch(text) and not _OTHER_KINDS.fullmatch(text):
        return text
    # An interpolation is none behind a backslash, and backslashes before it count double.
    text = re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)
    # So do those before a quote.
    return '"' + re.sub(r'(\\*)("|$)', lambda match: match[1] * 2 + match[2].replace('"', r"\""), text) + '"'
