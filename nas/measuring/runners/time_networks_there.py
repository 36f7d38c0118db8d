"""Whole networks timed by the worker, here or on a machine over SSH, at the level of a table."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray

from nas.config.jobs import ValidateJob
from nas.cost.latency_table import LatencyTable
from nas.devices.runtime_name import RuntimeName
from nas.devices.runtimes import WORKER_RUNTIMES, hardware_note
from nas.errors import ConfigError, TableError
from nas.measuring.effort import Effort
from nas.measuring.network_rounds import SERIES, series_key, series_samples
from nas.measuring.operation_graphs import OperationFile, network_file, operation_file
from nas.measuring.runners.bundle import Request, measurement_files
from nas.measuring.runners.profile_there import open_place
from nas.measuring.runners.worker_run import WorkerRun
from nas.network.network import Network
from nas.ops.spec import OpSpec
from nas.space.graph import Graph
from nas.worker.rounds import Log, OnProgress

_log = logging.getLogger(__name__)


def time_far(
    graphs: Sequence[Graph], job: ValidateJob, table: LatencyTable, *, on_progress: OnProgress | None = None
) -> NDArray[np.float64]:
    """Samples of networks as `nas.measuring.network_rounds.time_networks` takes them, by the worker.

    A run that stopped goes on from the worker's journal when it is repeated.

    Args:
        graphs: The networks.
        job: Where to measure, the shape, and the number of rounds.
        table: Names the runtime, the device and the level of speed.
        on_progress: See `OnProgress`.

    Returns:
        Samples [networks, 2 series, rounds] in ms at the level of the table.

    Raises:
        UserError: If the place is not the table's device or refuses.
        ResumableError: If the worker or the connection stopped.
    """
    request = _request(job, table)
    if (note := hardware_note(request.runtime.backend, request.accelerator)) is not None:
        _log.warning(note)
    with closing(open_place(job, request)) as place:
        run = WorkerRun(place, request)
        identity = run.identify()
        name = identity.name if job.device == "auto" else job.device
        if name != table.device.name:
            raise TableError(
                f"latency table {table.identifier}: got one of {table.device.name}, expected one of {name}, where this runs; "
                f"measure one with nas profile, or give device={table.device.name} if that is a name of that machine"
            )
        if identity.version != table.runtime.version:
            raise TableError(
                f"latency table {table.identifier}: measured with {table.runtime.backend} {table.runtime.version}, and there is "
                f"{identity.version}; measure it again with nas profile"
            )
        log = Log()
        run.measure(_files(graphs, job, table, request), log, identity=identity, on_progress=on_progress)
        place.remove()
    assert table.reference is not None
    return series_samples(log.timings, len(graphs), level_ms=table.reference.median_ms)


def _request(job: ValidateJob, table: LatencyTable) -> Request:
    runtime = RuntimeName.from_full(table.runtime.name)
    if runtime is None or runtime.backend not in WORKER_RUNTIMES:
        known = ", ".join(WORKER_RUNTIMES)
        raise ConfigError(f"latency.table: got {table.identifier} with runner={job.runner}, expected a table of one of {known}")
    if table.reference is None:
        raise TableError(
            f"latency table {table.identifier}: names no reference operation, so nothing can be measured at its level; expected a "
            "table of nas profile"
        )
    effort = Effort(rounds=job.rounds, max_rounds=job.rounds, ci=0.01)
    accelerator = job.accelerator or WORKER_RUNTIMES[runtime.backend].accelerators[0]
    return Request(runtime=runtime, accelerator=accelerator, effort=effort, program_effort=effort)


def _files(graphs: Sequence[Graph], job: ValidateJob, table: LatencyTable, request: Request) -> dict[str, bytes]:
    """The measurement: each network twice, and the table's reference operation."""
    assert job.deploy.input is not None
    assert table.reference is not None
    size, reference = (job.deploy.input[0], job.deploy.input[1]), table.reference.key
    script, batch = WORKER_RUNTIMES[request.runtime.backend].script, request.runtime.batch

    def items() -> Iterator[tuple[Sequence[str], OperationFile]]:
        for number, graph in enumerate(graphs):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(job.seed + number)
                network = Network(graph.deployed()).eval()
            keys = [series_key(number, series) for series in range(SERIES)]
            yield keys, network_file(network, size=size, batch=batch, script=script)
        yield (reference,), operation_file(OpSpec.from_key(reference), batch=batch, script=script)

    return measurement_files(items(), request, planned=SERIES * len(graphs), reference=reference)
