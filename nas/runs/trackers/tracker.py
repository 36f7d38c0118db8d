"""A tracker: a place beside `metrics.jsonl` to which a run sends its scalars and pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Pictures = Mapping[str, NDArray[np.uint8]]
"""RGB pictures [H, W, 3] by name."""


class Tracker(ABC):
    """One run in one tracker. Any method may raise: the run goes on without the tracker then."""

    @abstractmethod
    def begin(self, step: int) -> None:
        """Start to write; what was written of steps after `step` is void (0: a new run)."""

    @abstractmethod
    def scalars(self, scalars: Mapping[str, float], *, step: int) -> None:
        """Write scalars by name, `SPLIT/NAME`, of a step."""

    @abstractmethod
    def pictures(self, pictures: Pictures, *, step: int) -> None:
        """Write pictures of a step."""

    @abstractmethod
    def close(self, *, failed: bool) -> None:
        """Write out everything and end; `failed` if the run did not come to its end."""
