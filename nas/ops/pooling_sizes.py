"""Sizes that pooling leaves, without PyTorch."""

from __future__ import annotations


def columns(rows: int, height: int, width: int) -> int:
    """Columns of a grid of nearly square bins.

    >>> columns(8, 32, 64), columns(2, 30, 40), columns(2, 64, 8)
    (16, 3, 1)
    """
    return max(1, round(rows * width / height))
