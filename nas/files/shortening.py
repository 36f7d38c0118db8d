"""Values as error messages quote them."""

from __future__ import annotations


def shorten(value: object, *, limit: int = 60) -> str:
    """`repr` on one line, its middle left out where it is longer than `limit` characters.

    >>> shorten("a" * 30 + "z" * 30, limit=20)
    "'aaaaaaa...zzzzzzzz'"
    """
    text = repr(value)
    if len(text) <= limit:
        return text
    head = (limit - 3) // 2
    return f"{text[:head]}...{text[head + 3 - limit :]}"
