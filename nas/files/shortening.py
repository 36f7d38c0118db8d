"""Values as error messages quote them."""

from __future__ import annotations

import re

QUOTED = 200
"""Most characters of a text that a message quotes."""
LINE = 4000
"""Most characters of a line of a message."""
MESSAGE = 100_000
"""Characters of a message that are looked at."""
_WORD = re.compile(rf"\S{{{QUOTED + 1},}}")


def printable(text: str, *, limit: int = QUOTED) -> str:
    r"""A text on one line, control characters escaped, its middle left out where it is longer than `limit` characters.

    >>> print(printable("a\x1b[2Jb\n"))
    a\x1b[2Jb\n
    """
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in _middle_out(text, limit))
    return _middle_out(shown, limit)


def safe_message(message: str) -> str:
    r"""A message as a terminal may show it: control characters escaped but for line breaks, and nothing of it endless.

    Words of more than `QUOTED` characters lose their middle, save paths, which people copy; so do lines of more than `LINE`.

    >>> print(safe_message("a\x1b: " + "x" * 1000)[:20])
    a\x1b: xxxxxxxxxxxxx
    """
    return "\n".join(printable(_WORD.sub(_cut, line[:MESSAGE]), limit=LINE) for line in message[:MESSAGE].split("\n"))


def _cut(word: re.Match[str]) -> str:
    return word[0] if "/" in word[0] else _middle_out(word[0], QUOTED)


def shorten(value: object, *, limit: int = 60) -> str:
    """`repr` on one line, its middle left out where it is longer than `limit` characters.

    >>> shorten("a" * 30 + "z" * 30, limit=20)
    "'aaaaaaa...zzzzzzzz'"
    """
    return _middle_out(repr(value), limit)


def _middle_out(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    head = (limit - 3) // 2
    return f"{text[:head]}...{text[head + 3 - limit :]}"
