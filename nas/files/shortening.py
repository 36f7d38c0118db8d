"""Values as error messages quote them."""

from __future__ import annotations

QUOTED = 200
"""Most characters of a text that a message quotes."""


def printable(text: str, *, limit: int = QUOTED) -> str:
    r"""A text on one line, control characters escaped, its middle left out where it is longer than `limit` characters.

    >>> print(printable("a\x1b[2Jb\n"))
    a\x1b[2Jb\n
    """
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in _middle_out(text, limit))
    return _middle_out(shown, limit)


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
