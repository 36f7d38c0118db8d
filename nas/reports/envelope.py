"""A curve of any number of points in bounded memory, from which no peak vanishes."""

from __future__ import annotations

MOST_SPANS = 1024
"""Spans of a curve, more than a panel has pixels across; as many points are kept as they are."""

_Point = tuple[int, int, float]
"""Number of the point, its step, its value."""


class Envelope:
    """The points of a curve, and from `MOST_SPANS` on of each span the first, the smallest, the largest and the last.

    Spans have equally many points each, the last one perhaps fewer. Where one more is needed than there may be, neighbours are
    joined. It is the M4 aggregation of Jugel, Jerzak, Hackenbroich, Markl, "M4: A Visualization-Oriented Time Series Data
    Aggregation", PVLDB 7(10), 2014, over counts of points in place of columns of pixels.
    """

    def __init__(self) -> None:
        self.count = 0
        self._spans: list[list[_Point]] = []
        self._size, self._filled = 1, 0

    def add(self, step: int, value: float) -> None:
        """Append a point."""
        point = (self.count, step, value)
        self.count += 1
        if self._filled == 0:
            if len(self._spans) == MOST_SPANS:
                self._spans = [_joined(*self._spans[i : i + 2]) for i in range(0, MOST_SPANS, 2)]
                self._size *= 2
            self._spans.append([point] * 4)
        else:
            span = self._spans[-1]
            if value < span[1][2]:
                span[1] = point
            if value > span[2][2]:
                span[2] = point
            span[3] = point
        self._filled = (self._filled + 1) % self._size

    def points(self) -> tuple[list[int], list[float]]:
        """Steps and values of the points that are kept, in their order."""
        kept = sorted({point for span in self._spans for point in span})
        return [step for _, step, _ in kept], [value for _, _, value in kept]


def _joined(one: list[_Point], other: list[_Point]) -> list[_Point]:
    """The span of two neighbours."""
    lowest = min(one[1], other[1], key=lambda point: point[2])
    return [one[0], lowest, max(one[2], other[2], key=lambda point: point[2]), other[3]]
