"""Interface of every place where operations and networks are timed: this process, and the worker in a folder of some machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nas.measuring.effort import Effort
from nas.measuring.journal import Conditions, TableJournal
from nas.measuring.network_rounds import NetworkTimings
from nas.measuring.operation_graphs import OperationFile
from nas.network.network import Network
from nas.ops.spec import OpSpec
from nas.worker.rounds import OnProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Facts of a device, seen while timings were taken on it.

    Args:
        clocks_before: Its clocks before the first timing of the run; None where they cannot be read.
        clocks_after: The same after the last.
        temperature_before: Its temperatures, as its clocks.
        temperature_after: The same after the last timing.
        throttled: What slowed it down meanwhile.
        system: Facts of the device.
        energy_mj: Key of an operation -> energy of a call in mJ, where that was measured.
        without_graph: Keys of the operations of which a call was launched kernel by kernel, where CUDA graphs were to be used.
    """

    clocks_before: str | None = None
    clocks_after: str | None = None
    temperature_before: str | None = None
    temperature_after: str | None = None
    throttled: tuple[str, ...] = ()
    system: Mapping[str, str] = field(default_factory=dict)
    energy_mj: Mapping[str, float] = field(default_factory=dict)
    without_graph: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SizedNetwork:
    """A derived network to be timed.

    Args:
        make: Builds it in evaluation mode.
        size: (height, width) of its images in pixels.
    """

    make: Callable[[], Network]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class SizedGraph:
    """A network that is an ONNX graph of fixed shapes, to be timed.

    Args:
        name: Its name in errors.
        make: Makes the graph.
    """

    name: str
    make: Callable[[], OperationFile]


Timeable = SizedNetwork | SizedGraph
"""A whole network that a runner times."""


class TimesNetworks(Protocol):
    """Where whole networks are timed, or were."""

    @property
    def conditions(self) -> Conditions:
        """The conditions of a measurement now."""

    def time_networks(
        self, networks: Sequence[Timeable], reference: OpSpec | None, *, seed: int, on_progress: OnProgress | None = None
    ) -> tuple[NetworkTimings, Observed]:
        """Time whole networks, and see what the device is like meanwhile.

        Args:
            networks: The networks.
            reference: The operation by which samples are brought to one level of speed; None, in this process alone: they stay as
                they are.
            seed: Seed of the orders, where those are free.
            on_progress: See `OnProgress`.

        Raises:
            UserError: If the place refuses.
            ResumableError: If it stopped before its time; the same call goes on.
        """


class Runner(TimesNetworks, Protocol):
    """Where timings are taken, by the worker's code."""

    @property
    def effort(self) -> Effort:
        """How long is measured."""

    def take(
        self, plan: Sequence[OpSpec], reference: OpSpec, journal: TableJournal, *, on_progress: OnProgress | None = None
    ) -> Observed:
        """Take the timings of a plan that a journal lacks, and record them there.

        Args:
            plan: The operations.
            reference: The reference operation.
            journal: Where the timings are and will be.
            on_progress: See `OnProgress`.

        Raises:
            UserError: If the place refuses.
            ResumableError: If it stopped before its time; the same call goes on.
        """

    def finish(self, *, measured: bool) -> None:
        """Delete what the measurement left in the place, now that its results are saved.

        Args:
            measured: Whether anything was measured.
        """
