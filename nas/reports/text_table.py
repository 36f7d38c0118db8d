"""Tables for the terminal: columns aligned with spaces."""

from __future__ import annotations

import math
from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """Lines of a table: the first columns to the left, the others to the right.

    Args:
        header: Name of each column.
        rows: Cells; as many a row as the header has.
        left: How many columns stand to the left.

    >>> text_table(["part", "ms"], [["stem", "1.25"], ["cells.0", "10.50"]])
    ['part        ms', 'stem      1.25', 'cells.0  10.50']
    """
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if column >= left else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]


def duration(seconds: float) -> str:
    """A duration in words.

    >>> duration(7.2), duration(130.0), duration(7300.0)
    ('8 s', '2 min 10 s', '2 h 1 min')
    """
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
