"""The processes of one run, a rank each, and what they exchange; with one process nothing is exchanged.

Collectives go through torch.distributed: gloo between CPUs, nccl between GPUs. What one rank calls, all ranks call, in the same
order. No object is pickled: texts travel as bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from nas.errors import LostProcessError, RanksDifferError, UserError

BUCKET = 2**24
"""Numbers that a collective of gradients takes: 64 MB of float32 are copied at a time, not the whole network."""

_WRONG_INPUT, _FAILED = "2", "1"


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of the run.

    Args:
        number: Its rank, from 0. The first alone writes and prints.
        count: Number of processes.
        device: Where collectives take their tensors from: CPU for gloo, the GPU of this process for nccl.
    """

    number: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.number == 0

    @property
    def are_several(self) -> bool:
        """Whether there is anybody else."""
        return self.count > 1

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks, without a gradient; with one process the tensor itself. All ranks get the same bits."""
        if not self.are_several:
            return tensor
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        self._add_up(total)
        return total

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks, which have one shape, [count, *shape], without a gradient."""
        if not self.are_several:
            return tensor.detach()[None]
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(self.count)]
        with self._collective():
            distributed.all_gather(parts, tensor.detach().contiguous())
        return torch.stack(parts)

    def sum_of_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their sums over the ranks, in collectives of up to `BUCKET` numbers or one gradient.

        Ranks draw the same architecture, so the same parameters have a gradient on all of them. A parameter without one is left
        without: an optimiser does not move it, as with one process.
        """
        if not self.are_several:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for some in _buckets(gradients):
            total = torch.cat([gradient.reshape(-1) for gradient in some])
            self._add_up(total)
            for gradient, part in zip(some, total.split([gradient.numel() for gradient in some]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def average_of_statistics(self, module: nn.Module) -> None:
        """Replace floating buffers, the running statistics of batch norms, by their means over the ranks."""
        buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        if not self.are_several or not buffers:
            return
        mean = self.sum(torch.cat([buffer.reshape(-1).double() for buffer in buffers])) / self.count
        for buffer, part in zip(buffers, mean.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(part.view_as(buffer))

    def any(self, flag: bool) -> bool:  # noqa: FBT001
        """Whether the flag is set on some rank."""
        return flag if not self.are_several else bool(self.sum(torch.tensor(int(flag), device=self.device)))

    def from_first(self, make: Callable[[], str]) -> str:
        """A text that the first rank makes. If it raises there, all ranks raise.

        Raises:
            UserError: If the first rank raised one; the others say so in few words, for the first says it in full.
            LostProcessError: On the others, if the first rank raised anything else.
        """
        if not self.are_several:
            return make()
        if self.is_first:
            try:
                text = make()
            except BaseException as error:
                self._tell(_WRONG_INPUT if isinstance(error, UserError) else _FAILED)
                raise
            self._tell(f"0{text}")
            return text
        status, text = (message := self._tell(""))[:1], message[1:]
        if status == _WRONG_INPUT:
            raise UserError("the first process refused the input")
        if status == _FAILED:
            raise LostProcessError("the first process failed")
        return text

    def require_same(self, state: Mapping[str, object], where: str = "state") -> None:
        """Compare all tensors of a nested state across the ranks, bit by bit through check sums.

        Raises:
            RanksDifferError: Naming tensors that differ.
        """
        if not self.are_several:
            return
        tensors = dict(_tensors(state, where))
        sums = torch.tensor([_check_sum(tensor) for tensor in tensors.values()], dtype=torch.int64, device=self.device)
        counts = self.gather(torch.tensor(len(tensors), device=self.device))
        if bool((counts != len(tensors)).any()):
            raise RanksDifferError(f"got states of {counts.tolist()} tensors, expected the same on all {self.count} processes")
        differ = (self.gather(sums) != sums).any(dim=0).tolist()
        names = [name for name, differs in zip(tensors, differ, strict=True) if differs]
        if names:
            raise RanksDifferError(
                f"got {self.count} processes that differ in {', '.join(names[:3])} ({len(names)} of {len(tensors)} tensors), "
                "expected the same on all; nothing was saved: go on from the last checkpoint with resume=FOLDER"
            )

    def _add_up(self, tensor: Tensor) -> None:
        with self._collective():
            distributed.all_reduce(tensor)

    def _tell(self, text: str) -> str:
        """A text of the first rank on all ranks."""
        content = text.encode()
        length = torch.tensor(len(content), device=self.device)
        with self._collective():
            distributed.broadcast(length, src=0)
        buffer = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.is_first:
            buffer.copy_(torch.tensor(list(content), dtype=torch.uint8))
        with self._collective():
            distributed.broadcast(buffer, src=0)
        return bytes(buffer.tolist()).decode()

    @contextmanager
    def _collective(self) -> Iterator[None]:
        """Turn what a broken connection raises into one line."""
        try:
            yield
        except RuntimeError as error:
            reason = (str(error).splitlines() or ["no reason given"])[0]
            raise LostProcessError(
                f"process {self.number} of {self.count} lost another one ({reason}); go on from the last checkpoint with "
                "resume=FOLDER"
            ) from error


ALONE = Ranks()
"""The ranks of a run of one process."""


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, in groups of one type and of up to `BUCKET` numbers; a larger tensor is alone."""
    some: list[Tensor] = []
    held = 0
    for tensor in tensors:
        if some and (held + tensor.numel() > BUCKET or tensor.dtype != some[0].dtype):
            yield some
            some, held = [], 0
        some.append(tensor)
        held += tensor.numel()
    if some:
        yield some


def _tensors(state: object, where: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield where, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _tensors(value, f"{where}.{key}")
    elif isinstance(state, list | tuple):
        for index, value in enumerate(state):
            yield from _tensors(value, f"{where}.{index}")


def _check_sum(tensor: Tensor) -> int:
    """CRC-32 of the bytes of a tensor."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return zlib.crc32(flat.view(torch.uint8).numpy().tobytes()) if flat.numel() else 0
