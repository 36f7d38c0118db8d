"""Activation memory: the bytes of the storages that autograd has saved for the backward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from types import TracebackType

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


class SavedBytes:
    """Counts, while it is entered, the distinct storages that are saved for backward passes; each as long as it is saved.

    A storage counts once, however many tensors of it are saved, and whole, however small a part of it they are: that is what stays
    allocated. Of several passes, one after the other, the largest counts. What activation checkpointing computes again in the
    backward pass is not saved, and does not count.

    Args:
        apart: Tensors whose storages do not count: parameters and buffers, which stay anyway.
    """

    def __init__(self, apart: Iterable[Tensor] = ()) -> None:
        self.current = 0
        """Bytes that are saved now."""
        self.most = 0
        """Most bytes that were saved at any time."""
        self._apart = {_address(tensor) for tensor in apart}
        self._users: Counter[int] = Counter()
        self._hooks = saved_tensors_hooks(self._pack, _unpack)

    def __enter__(self) -> SavedBytes:
        """Begin to count."""
        self._hooks.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Count no further tensors."""
        self._hooks.__exit__(kind, error, trace)

    def _pack(self, tensor: Tensor) -> _Saved:
        return _Saved(tensor, self)

    def take(self, address: int, size: int) -> None:
        """A tensor of a storage was saved."""
        if address in self._apart or size == 0:
            return
        self._users[address] += 1
        if self._users[address] == 1:
            self.current += size
            self.most = max(self.most, self.current)

    def give_back(self, address: int, size: int) -> None:
        """A saved tensor of a storage has gone."""
        if address in self._apart or size == 0:
            return
        self._users[address] -= 1
        if self._users[address] == 0:
            del self._users[address]
            self.current -= size


class _Saved:
    """A saved tensor, until the graph lets go of it."""

    def __init__(self, tensor: Tensor, ledger: SavedBytes) -> None:
        self.tensor, self._ledger = tensor, ledger
        self._entry = (_address(tensor), tensor.untyped_storage().nbytes())
        ledger.take(*self._entry)

    def __del__(self) -> None:
        self._ledger.give_back(*self._entry)


def _unpack(saved: _Saved) -> Tensor:
    return saved.tensor


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
