"""The worker as a program: `python3 -I worker.py` measures the job in its folder, and goes on where a stopped run was."""

import json
import os
import signal
import sys
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from nas.worker.drift import Timing
from nas.worker.far_journal import JOURNAL_FILE, FarJournal, conditions_under, line_of
from nas.worker.identity import device_identity, device_slug
from nas.worker.interface import Operation, Run, Runtime, Setup, WorkerError
from nas.worker.job import Graphs, Job, read_job
from nas.worker.lock import sole_worker
from nas.worker.onnx_sessions import open_onnxruntime, open_onnxruntime_tensorrt
from nas.worker.power import PowerSource, energy_per_call, find_power_source
from nas.worker.readings import Reading, clocks_text, read_state, temperatures_text, throttling_between
from nas.worker.result import RESULT_VERSION, save_result
from nas.worker.rounds import measure_rounds
from nas.worker.tensorrt_choice import open_tensorrt
from nas.worker.torch_script import TorchScript

RUNTIMES: Mapping[str, Callable[[Setup], Runtime]] = {
    "onnxruntime": open_onnxruntime,
    "onnxruntime-tensorrt": open_onnxruntime_tensorrt,
    "tensorrt": open_tensorrt,
    "torch-script": TorchScript,
}
"""The key is the first part of a runtime's name."""

WORKER_DONE, WORKER_FAILED, WORKER_REFUSED, WORKER_INTERRUPTED = 0, 1, 2, 130
"""The exit statuses; refused means: the user can mend it."""
KEPT_SHARE, KEPT_BYTES = 0.25, 1_000_000_000
"""Operations are kept ready up to this share of the memory that is free at the start, and up to this size."""
SAY_EVERY_S = 5.0
"""Pause between two lines of progress that a person reads."""


class Teller:
    """Says what happens, to a person or, as one JSON object a line, to a program.

    Args:
        as_json: Whether a program reads it.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._start = time.monotonic()
        self._said = -SAY_EVERY_S
        self._first: Tuple[float, int] = (self._start, -1)
        self._lead = "\n" if as_json else ""  # ends what a log-in shell may have begun

    def event(self, name: str, value: object, text: str) -> None:
        """Say something: to a program its name and value, to a person a text."""
        self._put(json.dumps({name: value}) if self._as_json else text)

    def timing(self, line: str) -> None:
        """Pass a line of the journal on to a program."""
        if self._as_json:
            self._put(f'{{"timing": {line}}}')

    def progress(self, done: int, total: int) -> None:
        """Say how many samples there are, and how many there will be as far as can be told."""
        now = time.monotonic()
        if self._first[1] < 0:
            self._first = (now, done)
        if self._as_json:
            self._put(json.dumps({"progress": [done, total]}))
        elif self._is_time():
            since, there = self._first
            left_s = (total - done) * (now - since) / max(1, done - there)
            left = f"{left_s:.0f} s" if left_s < 120 else f"{left_s / 60:.0f} min"
            self._put(f"{done} of about {total} samples" + (f", about {left} left" if done > there else ""))

    def ready(self, done: int, total: int) -> None:
        """Say how many operations were made ready, which for some runtimes takes longer than the measurement."""
        if self._as_json:
            self._put(json.dumps({"ready": [done, total]}))
        elif self._is_time():
            self._put(f"{done} of {total} operations are ready")

    def _is_time(self) -> bool:
        """Whether a person should hear something again."""
        now = time.monotonic()
        if now - self._said < SAY_EVERY_S:
            return False
        self._said = now
        return True

    def _put(self, text: str) -> None:
        sys.stdout.write(self._lead + text + "\n")
        self._lead = ""
        sys.stdout.flush()


class SpokenJournal(FarJournal):
    """A journal that passes each new line on, and those that are there but are not known to who listens.

    Args:
        path: See `FarJournal`.
        job: The job.
        teller: Passes lines on.
        under: See `FarJournal`.
        known: How many of the first timings are known; None: all.
    """

    def __init__(self, path: str, job: Job, teller: Teller, *, under: Mapping[str, str], known: Optional[int] = None) -> None:
        keys = [operation.key for operation in job.operations]
        super().__init__(path, job.job_id, keys, under=under)
        self._teller = teller
        self._places = {key: number for number, key in enumerate(keys)}
        for timing in [] if known is None else self.timings[known:]:
            self._tell(timing)

    def keep(self, timing: Timing) -> None:
        """Keep a timing, and pass it on unless it was read from the file."""
        super().keep(timing)
        if hasattr(self, "_teller"):
            self._tell(timing)

    def _tell(self, timing: Timing) -> None:
        self._teller.timing(line_of(timing, self._places[timing.key]))


class ReadyOperations:
    """Operations made ready, kept up to a size in memory and made anew beyond it.

    Args:
        runtime: What executes them.
        graphs: Where their graphs are.
        operations: The operations.
        keep_bytes: Most memory for those that are kept, reckoned as twice their graphs and their maps.
        on_ready: Called with the number of operations that were made ready so far, and of all.
    """

    def __init__(
        self,
        runtime: Runtime,
        graphs: Graphs,
        operations: Sequence[Operation],
        *,
        keep_bytes: float,
        on_ready: Callable[[int, int], None],
    ) -> None:
        self._runtime = runtime
        self._graphs = graphs
        self._operations = {operation.key: operation for operation in operations}
        self._free = keep_bytes
        self._kept: Dict[str, Run] = {}
        self._seen: Set[str] = set()
        self._on_ready = on_ready

    def prepare(self, key: str) -> Run:
        """Make an operation ready, or take the one that is kept."""
        if key in self._kept:
            return self._kept[key]
        unpacked = self._graphs.unpack(self._operations[key])
        try:
            size = 2 * os.path.getsize(unpacked.path) + 4 * sum(map(_elements, (*[s for _, s in unpacked.inputs], unpacked.output)))
            run = self._runtime.open(unpacked)
        finally:
            self._graphs.remove(unpacked)
        if size <= self._free:
            self._free -= size
            self._kept[key] = run
        if key not in self._seen:
            self._seen.add(key)
            self._on_ready(len(self._seen), len(self._operations))
        return run


class Watch:
    """What the device's state was before, between and after the rounds.

    Args:
        accelerator: `cpu` or `cuda`.
    """

    def __init__(self, accelerator: str) -> None:
        self._accelerator = accelerator
        self.first = self.last = read_state(accelerator)
        self.throttled: List[str] = []
        """What slowed the device, in words, each once."""

    def look(self) -> None:
        """Read the state and compare it with the one before."""
        now = read_state(self._accelerator)
        self.throttled += [reason for reason in throttling_between(self.last, now) if reason not in self.throttled]
        self.last = now


def main(arguments: Sequence[str]) -> int:
    """Run the program.

    Args:
        arguments: None: measure the job in the program's folder. `--stream N`: the same for a program that reads JSON lines and
            knows the first N timings. `--identify JSON`: say what this device and its runtime are.

    Returns:
        An exit status.
    """
    folder = os.path.dirname(os.path.abspath(sys.argv[0]))
    teller = Teller(as_json=bool(arguments))
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        if arguments[:1] == ["--identify"] and len(arguments) == 2:
            teller.event("identity", identify_worker(arguments[1], folder), "")
        elif arguments[:1] == ["--stream"] and len(arguments) == 2 and arguments[1].isdigit():
            run_job(folder, teller, known=int(arguments[1]))
        elif not arguments:
            run_job(folder, teller, known=None)
        else:
            raise WorkerError(f"got {' '.join(arguments)!r}, expected nothing, --stream N or --identify JSON")
    except WorkerError as error:
        teller.event("error", str(error), f"worker: {error}")
        return WORKER_REFUSED
    except BrokenPipeError:  # who read our output has gone; the journal has everything
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WORKER_FAILED
    except KeyboardInterrupt:
        teller.event("error", "interrupted", "stopped; the same command goes on from here")
        return WORKER_INTERRUPTED
    return WORKER_DONE


def identify_worker(question: str, folder: str) -> Dict[str, Any]:
    """What this device is and what runs on it.

    Args:
        question: JSON with `backend`, `precision`, `threads` and `accelerator`.
        folder: The worker's folder.
    """
    try:
        request = json.loads(question)
        backend, setup = request["backend"], Setup(request["precision"], request["threads"], request["accelerator"], folder)
    except (ValueError, KeyError, TypeError) as error:
        wanted = "an object with backend, precision, threads and accelerator"
        raise WorkerError(f"--identify: got {question!r}, expected {wanted}") from error
    runtime = open_runtime(backend, setup)
    return dict(_about(runtime, setup), clock=time.time())


def open_runtime(backend: str, setup: Setup) -> Runtime:
    """The runtime of a name; a package that only this user has installed counts too, though `python -I` leaves it out."""
    import site

    own = site.getusersitepackages()
    if own not in sys.path and os.path.isdir(own):
        sys.path.append(own)
    if backend not in RUNTIMES:
        raise WorkerError(f"got runtime {backend!r}, expected one of {', '.join(RUNTIMES)}")
    if setup.accelerator not in ("cpu", "cuda"):
        raise WorkerError(f"got accelerator {setup.accelerator!r}, expected cpu or cuda")
    return RUNTIMES[backend](setup)


def run_job(folder: str, teller: Teller, *, known: Optional[int]) -> None:
    """Measure the job in a folder and write its result there.

    Args:
        folder: The worker's folder.
        teller: Says what happens.
        known: How many timings who listens knows, and whose worker at the same job may be taken over; None: nobody listens.
    """
    job = read_job(folder)
    with sole_worker(folder, job.job_id, take_over=known is not None):
        runtime, graphs, watch = open_runtime(job.backend, job.setup), Graphs(folder), Watch(job.setup.accelerator)
        source = _power_source(runtime, job.setup) if job.energy else None
        under = conditions_under(runtime.version, device_identity(job.setup.accelerator))
        journal = SpokenJournal(os.path.join(folder, JOURNAL_FILE), job, teller, under=under, known=known)
        teller.event("there", len(journal.timings), f"{job.planned} operations; {journal.num_samples} samples are there already")
        started = time.time()
        ready = ReadyOperations(runtime, graphs, job.operations, keep_bytes=_memory_to_keep(), on_ready=teller.ready)
        keys = [operation.key for operation in job.operations]
        measure_rounds(
            keys[: job.planned],
            keys[job.reference],
            ready.prepare,
            log=journal,
            rounds=job.program_rounds if runtime.is_program else job.rounds,
            is_program=runtime.is_program,
            on_progress=teller.progress,
            on_round=lambda index, count: watch.look(),  # noqa: ARG005
        )
        watch.look()
        energy = None if source is None else _energies(job, ready, source, teller)
        fields: Dict[str, Any] = {
            "format_version": RESULT_VERSION,
            "job": job.raw,
            "device": _about(runtime, job.setup),
            "before": _words(watch.first),
            "after": _words(watch.last),
            "throttled": watch.throttled,
            "energy": energy,
            "started_at": started,
            "finished_at": time.time(),
        }
        places = {key: number for number, key in enumerate(keys)}
        timings = [[places[one.key], one.round_index, one.ms, one.calls, one.is_reference] for one in journal.timings]
        journal.close()
        path = save_result(dict(fields, timings=timings), folder)
        teller.event(
            "result", fields, f"wrote {path}; carry it back and run there: nas profile import file={os.path.basename(path)}"
        )


def _power_source(runtime: Runtime, setup: Setup) -> PowerSource:
    """What energy can be read from; asked for before anything is measured, for a refusal afterwards would be one too late."""
    if runtime.is_program:
        raise WorkerError(
            "energy: got the program trtexec, whose start would be counted with each sample; leave energy out, or install "
            "TensorRT's Python package"
        )
    source = find_power_source(setup.accelerator)
    if source is None:
        raise WorkerError("energy: this device tells no power (no INA3221, RAPL or nvidia-smi that can be read); leave energy out")
    return source


def _energies(job: Job, ready: ReadyOperations, source: PowerSource, teller: Teller) -> Dict[str, Any]:
    """Energy of a call of each operation, by its number; and what it was read from."""
    joules: Dict[str, float] = {}
    idle_w = 0.0
    for number, operation in enumerate(job.operations[: job.planned]):
        energy = energy_per_call(source, ready.prepare(operation.key))
        joules[str(number)], idle_w = energy.mj_per_call, energy.idle_w
        teller.event("energy", number, f"energy of {number + 1} of {job.planned} operations")
    return {"source": source.name, "idle_w": idle_w, "mj": joules}


def _about(runtime: Runtime, setup: Setup) -> Dict[str, Any]:
    facts = device_identity(setup.accelerator)
    return {
        "name": device_slug(facts, setup.accelerator) if "model" in facts else None,
        "facts": facts,
        "version": runtime.version,
        "details": dict(runtime.details),
        "is_program": runtime.is_program,
    }


def _words(reading: Reading) -> Dict[str, Any]:
    return {"clocks": clocks_text(reading), "temperatures": temperatures_text(reading)}


def _elements(shape: Sequence[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product


def _memory_to_keep() -> float:
    """Bytes for operations that are kept ready."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            available = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        available = KEPT_BYTES  # not Linux as we know it
    return min(KEPT_SHARE * available, KEPT_BYTES)


def _interrupted(number: int, frame: object) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
