"""Operations made ready once and kept for the next rounds, up to a size in memory."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from torch import Tensor

from nas.ops.spec import OpSpec

KEEP_BYTES = 1_000_000_000
"""Operations and their buffers are kept between rounds up to this size in all; beyond, they are made again each time."""

T = TypeVar("T")
Buffers = tuple[Tensor, ...]


class Kept(Generic[T]):
    """Values made for operations, and the buffers that they share.

    Args:
        max_bytes: Most memory for all of them.
    """

    def __init__(self, max_bytes: int = KEEP_BYTES) -> None:
        self._free_bytes = max_bytes
        self._values: dict[OpSpec, T] = {}
        self._buffers: dict[Hashable, Buffers] = {}

    def get(self, spec: OpSpec) -> T | None:
        """The kept value of an operation, if any."""
        return self._values.get(spec)

    def buffers(self, purpose: str, like: Buffers) -> tuple[Hashable, Buffers]:
        """Kept buffers of the same purpose, shapes and types, otherwise `like` itself; and their name for `offer`."""
        name = (purpose, tuple((tensor.shape, tensor.dtype) for tensor in like))
        return name, self._buffers.get(name, like)

    def offer(self, spec: OpSpec, value: T, *, own_bytes: int, buffers: Mapping[Hashable, Buffers]) -> None:
        """Keep a value and its buffers if there is room for both.

        Args:
            spec: The operation.
            value: What to keep for it.
            own_bytes: Size of the value without buffers.
            buffers: Name -> buffers, as `buffers` gave them.
        """
        new_bytes = own_bytes + sum(num_bytes(*buffer) for name, buffer in buffers.items() if name not in self._buffers)
        if new_bytes <= self._free_bytes:
            self._free_bytes -= new_bytes
            self._buffers.update(buffers)
            self._values[spec] = value


def num_bytes(*tensors: Tensor) -> int:
    """Size of the contents of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
