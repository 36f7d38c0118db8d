"""Whole networks timed by a bundle's worker: the bundle, and the timings that its result brings back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.devices.runtimes import hardware_note
from nas.errors import ConfigError
from nas.files.atomic import write_bytes_atomic
from nas.files.shortening import shorten
from nas.measuring.journal import Conditions
from nas.measuring.network_rounds import SERIES, NetworkTimings, series_key
from nas.measuring.runners.bundle import bundle_archive, network_files
from nas.measuring.runners.conditions import conditions_in
from nas.measuring.runners.request import Request
from nas.measuring.runners.runner import Observed, Timeable
from nas.measuring.runners.worker_result import WorkerResult, read_result
from nas.measuring.table_filling import check_writable
from nas.ops.spec import OpSpec
from nas.worker.rounds import OnProgress

MAX_NAME = 400
"""Most characters of a network's name in a bundle; the worker takes keys of 500."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkBundle:
    """A bundle of networks that was written.

    Args:
        path: The zip.
        size: Its bytes.
        networks: Number of networks in it, each size of one for itself.
        note: What the user must know of the runtime; None: nothing.
        command: What reads its result.
    """

    path: Path
    size: int
    networks: int
    note: str | None
    command: str

    def summary(self) -> list[str]:
        """Lines for the terminal: what was written and what to do with it."""
        return [
            f"{self.path}: {self.networks} networks to time, {self.size / 1e6:.1f} MB",
            *([] if self.note is None else [self.note]),
            "copy it to the device, unpack it in an empty folder and run there: python3 -I worker.py",
            f"next: carry its result.json back and run: {self.command}",
        ]


def write_network_bundle(
    networks: Sequence[Timeable], names: Sequence[str], reference: OpSpec, request: Request, *, out: str | None, command: str
) -> NetworkBundle:
    """Write a zip that times networks where it is unpacked.

    Args:
        networks: The networks.
        names: What each is called, with its size.
        reference: The operation by which drift is taken out.
        request: How to measure.
        out: The file; None: segnas-networks-RUNTIME.zip.
        command: What reads the result, for people.

    Raises:
        ConfigError: If the file cannot be used, or a name cannot be stated.
    """
    if wrong := [name for name in names if len(name) > MAX_NAME or not name.isprintable()]:
        raise ConfigError(
            f"networks: got {shorten(wrong[0])}, expected names of at most {MAX_NAME} printable characters with runner=bundle"
        )
    path = Path(out or f"segnas-networks-{request.runtime}.zip")
    if path.suffix != ".zip" or path.exists():
        got = "which is there already" if path.exists() else "expected a .zip file with runner=bundle"
        raise ConfigError(f"out: got {path}, {got}; give another out=")
    check_writable(path)
    _log.info("making the graphs of %d networks", len(networks))
    keys = _keys(names)
    files = network_files(networks, reference, request, key=lambda number, series: keys[SERIES * number + series])
    archive = bundle_archive(files, request, command=command)
    write_bytes_atomic(path, archive)
    note = hardware_note(request.runtime.backend, request.accelerator)
    return NetworkBundle(path=path, size=len(archive), networks=len(networks), note=note, command=command)


def read_network_result(path: Path, names: Sequence[str], request: Request) -> WorkerResult:
    """The result of a bundle of networks.

    Args:
        path: The file.
        names: The networks that it should be of.
        request: How they should have been measured, but for the number of rounds.

    Raises:
        TableError: If the file is no whole result.
        ConfigError: If it is of other networks, or of another runtime.
    """
    result = read_result(path, of_networks=True)
    there = result.keys
    if there != tuple(_keys(names)):
        other = next((key for key in there if key not in _keys(names)), "fewer")
        raise ConfigError(
            f"{path}: got a result of {len(there) // SERIES} networks ({shorten(other.partition(': ')[2] or other)}), expected the "
            f"{len(names)} of this command in its order; give networks=, bench.sizes= and runtime= as when the bundle was made"
        )
    found, wanted = (f"{one.runtime} on {one.accelerator}" for one in (result.request, request))
    if found != wanted:
        raise ConfigError(f"{path}: got a result of {found}, expected one of {wanted}; give runtime= and accelerator= of it")
    return result


class CarriedTimings:
    """Timings of some of the networks of a result; it `TimesNetworks`.

    Args:
        result: The result.
        first: Number of the first of these networks.
        device: Name of the device; None: what the bundle or the worker calls it.
    """

    def __init__(self, result: WorkerResult, *, first: int, device: str | None) -> None:
        self._result = result
        self._first = first
        self._conditions = conditions_in(result.request, result.identity, device=device)

    @property
    def conditions(self) -> Conditions:
        """The conditions of the measurement."""
        return self._conditions

    def time_networks(
        self, networks: Sequence[Timeable], reference: OpSpec | None, *, seed: int, on_progress: OnProgress | None = None
    ) -> tuple[NetworkTimings, Observed]:
        """The timings that are there, with the reference operation of the bundle; see `Runner`."""
        del reference, seed
        keys = self._result.keys[SERIES * self._first : SERIES * (self._first + len(networks))]
        names = {key: series_key(number // SERIES, number % SERIES) for number, key in enumerate(keys)}
        log = self._result.log
        kept = [one._replace(key=names.get(one.key, one.key)) for one in log.timings if one.is_reference or one.key in names]
        rounds = min(log.samples_of(key) for key in keys)
        timings = NetworkTimings(tuple(one for one in kept if one.is_reference or one.round_index < rounds), len(networks))
        if on_progress is not None:
            samples = SERIES * len(networks) * rounds
            on_progress(samples, samples)
        return timings, self._result.observed


def _keys(names: Sequence[str]) -> list[str]:
    """The keys of a job: both series of each network, with its name."""
    return [f"{series_key(number, series)}: {name}" for number, name in enumerate(names) for series in range(SERIES)]
