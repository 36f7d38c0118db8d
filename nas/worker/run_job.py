"""A job of the worker: its rounds, what the device was like meanwhile, energies, and the result."""

import os
import time
from typing import Any, Callable, Dict, Mapping, Optional

from nas.worker.device_facts import device_identity, device_slug
from nas.worker.drift import Timing
from nas.worker.events import EventStream
from nas.worker.graph_archive import Graphs
from nas.worker.interface import Run, Runtime, Setup, WorkerError
from nas.worker.job import Job, read_job
from nas.worker.job_notes import JobNotes
from nas.worker.lock import NOBODY, sole_worker
from nas.worker.other_measurements import refuse_other_measurements, remove_temporary_files
from nas.worker.power import PowerSource, energy_per_call, find_power_source
from nas.worker.readings import Reading, clocks_text, read_state, temperatures_text
from nas.worker.ready_operations import Kept, memory_to_keep, ready_from_graphs
from nas.worker.result import RESULT_VERSION, save_result
from nas.worker.rounds import IMPLEMENTATION, Rounds, Sampling, measure_rounds
from nas.worker.timing_journal import (
    JOURNAL_FILE,
    Journal,
    check_of_job,
    conditions_under,
    is_of_job,
    job_header,
    line_of,
)

OpenRuntime = Callable[[str, Setup], Runtime]
"""Opens a runtime by its name."""


class SpokenJournal(Journal):
    """A journal of a job that passes each new timing on to who listens.

    Args:
        path: The file; one of another job is replaced.
        job: The job.
        rounds: How long is measured.
        events: Passes timings on.
        under: The conditions now, from `conditions_under`.
    """

    def __init__(self, path: str, job: Job, rounds: Rounds, events: EventStream, *, under: Mapping[str, str]) -> None:
        keys = [operation.key for operation in job.operations]
        header = job_header(job.job_id, under)
        check = check_of_job(keys, reference=keys[job.reference], rounds=rounds.most)
        super().__init__(path, header, check=check, goes_on_from=lambda found: is_of_job(found, header))
        self._events = events
        self.start()

    def record(self, timing: Timing) -> None:
        """Keep a timing, and pass it on."""
        super().record(timing)
        self._events.timing(line_of(timing))


class Watch:
    """States of the device before, between and after the rounds, also those of a run that was stopped.

    Args:
        accelerator: `cpu` or `cuda`.
        notes: Where it is noted.
    """

    def __init__(self, accelerator: str, notes: JobNotes) -> None:
        self._accelerator = accelerator
        self._notes = notes
        self.last = read_state(accelerator)
        """The last reading."""
        if not notes.before:
            notes.note({"before": _words(self.last)})

    def look(self) -> None:
        """Read the state and compare it with the one before."""
        now = read_state(self._accelerator)
        self._notes.note_slowdowns(self.last, now)
        self.last = now


def run_job(
    folder: str,
    events: EventStream,
    open_runtime: OpenRuntime,
    *,
    known: Optional[int],
    client: str = NOBODY,
    replaced: Optional[str] = None,
) -> None:
    """Measure the job in a folder and write its result there.

    Args:
        folder: The worker's folder.
        events: Says what happens.
        open_runtime: See `OpenRuntime`.
        known: How many timings who listens knows; None: nobody listens.
        client: Who listens; see `sole_worker`.
        replaced: Whose worker at the same job is taken over; see `sole_worker`.
    """
    job = read_job(folder)
    with sole_worker(folder, job.job_id, client=client, replaced=replaced):
        remove_temporary_files(folder)
        if known is None:  # who listens has the timings of other jobs
            refuse_other_measurements(folder, job.job_id)
        graphs = Graphs(folder, job.graphs)
        hashes = graphs.check()
        runtime = open_runtime(job.backend, job.setup)
        source = _power_source(runtime, job.setup) if job.energy else None
        under = conditions_under(runtime.version, device_identity(job.setup.accelerator))
        rounds = job.program_rounds if runtime.is_program else job.rounds
        journal = SpokenJournal(os.path.join(folder, JOURNAL_FILE), job, rounds, events, under=under)
        for timing in [] if known is None else journal.timings[known:]:
            events.timing(line_of(timing))
        notes = JobNotes(folder, job.job_id, under=under, operations=len(job.operations))
        watch = Watch(job.setup.accelerator, notes)
        events.event("there", len(journal.timings), f"{job.planned} operations; {journal.num_samples} samples are there already")
        started = time.time()
        make = ready_from_graphs(runtime, graphs, job.operations, events.ready)
        ready = Kept(make, keep_bytes=memory_to_keep())
        keys = [operation.key for operation in job.operations]
        numbers = {key: number for number, key in enumerate(keys)}
        measure_rounds(
            keys[: job.planned],
            keys[job.reference],
            lambda key: _noting_graphs(key, ready.take(key), runtime, notes, number=numbers[key]),
            log=journal,
            rounds=rounds,
            sampling=Sampling(is_program=runtime.is_program),
            on_progress=events.progress,
            on_round=lambda index, count: watch.look(),  # noqa: ARG005
        )
        watch.look()
        after = _words(watch.last)
        energy = None
        if source is not None:
            energy = _energies(job, ready, source, notes, events)
            watch.look()
        seen: Dict[str, Any] = {
            "format_version": RESULT_VERSION,
            "device": about_device(runtime, job.setup),
            "before": notes.before,
            "after": after,
            "throttled": notes.throttled,
            "energy": energy,
            "without_graph": sorted(notes.without_graph),
            "graphs": [hashes[operation.path] for operation in job.operations],
            "started_at": started,
            "finished_at": time.time(),
        }
        timings = [[numbers[one.key], one.round_index, one.ms, one.calls, one.is_reference] for one in journal.timings]
        journal.close()
        path = save_result(dict(seen, job=job.raw, timings=timings), folder)
        events.event("result", seen, f"wrote {path}; carry it back, README.txt says what reads it there")


def about_device(runtime: Runtime, setup: Setup) -> Dict[str, Any]:
    """Identity of this device and its runtimes."""
    facts = device_identity(setup.accelerator)
    return {
        "name": device_slug(facts, setup.accelerator) if "model" in facts else None,
        "facts": facts,
        "version": runtime.version,
        "details": dict(runtime.details),
        "is_program": runtime.is_program,
        "sample_clock": runtime.clock,
        "cuda_graphs": runtime.graphs,
        "implementation": IMPLEMENTATION,
    }


def _noting_graphs(key: str, run: Run, runtime: Runtime, notes: JobNotes, *, number: int) -> Run:
    """What executes an operation, and notes before a timing counts that a CUDA graph was not used for it."""

    def noting(calls: int) -> float:
        ms = run(calls)
        if key in runtime.without_graph and number not in notes.without_graph:
            notes.note({"without_graph": number})
        return ms

    return noting


def _power_source(runtime: Runtime, setup: Setup) -> PowerSource:
    """The source of energy readings. It is asked for before anything is measured, so that a refusal comes in time."""
    if runtime.is_program:
        raise WorkerError(
            "energy: got the program trtexec, whose start would be counted with each sample; leave energy out, or install "
            "TensorRT's Python package"
        )
    source = find_power_source(setup.accelerator)
    if source is None:
        raise WorkerError("energy: this device tells no power (no INA3221, RAPL or nvidia-smi that can be read); leave energy out")
    return source


def _energies(job: Job, ready: Kept[Run], source: PowerSource, notes: JobNotes, events: EventStream) -> Dict[str, Any]:
    """Energy of a call of each operation, by its number; what it was read from; and the mean idle power."""
    for number, operation in enumerate(job.operations[: job.planned]):
        if number not in notes.energies:
            energy = energy_per_call(source, ready.take(operation.key))
            notes.note({"op": number, "mj": energy.mj_per_call, "idle_w": energy.idle_w})
        events.event("energy", number, f"energy of {number + 1} of {job.planned} operations")
    found = {number: notes.energies[number] for number in range(job.planned)}
    return {
        "source": source.name,
        "idle_w": sum(one["idle_w"] for one in found.values()) / len(found),
        "mj": {str(number): one["mj"] for number, one in found.items()},
    }


def _words(reading: Reading) -> Dict[str, Any]:
    return {"clocks": clocks_text(reading), "temperatures": temperatures_text(reading)}
