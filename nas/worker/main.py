"""The worker as a program: `python3 -I worker.py` measures the job in its folder, and goes on where a stopped run was."""

import contextlib
import os
import signal
import sys
import time
from typing import Any, Callable, Dict, Mapping, Sequence

from nas.worker.events import EventStream, OutputLostError
from nas.worker.graph_archive import archive_digest
from nas.worker.interface import Runtime, Setup, WorkerError
from nas.worker.lock import NOBODY, busy_with
from nas.worker.onnx_sessions import open_onnxruntime, open_onnxruntime_tensorrt
from nas.worker.plain_json import cut, one_line, value_of
from nas.worker.run_job import about_device, run_job
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
"""The exit statuses; refused means: the user can correct it."""


def main(arguments: Sequence[str]) -> int:
    """Run the program.

    Args:
        arguments: None: measure the job in the program's folder. `--stream N CLIENT REPLACED`: the same for a program that reads
            JSON lines and knows the first N timings; the last two may be left out. `--identify JSON`: say what this device and its
            runtime are.

    Returns:
        An exit status.
    """
    open_standard_streams()
    events = EventStream(as_json=arguments[:1] in (["--identify"], ["--stream"]))
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        return _status(arguments, events)
    except OutputLostError as error:
        _leave_output()
        if not isinstance(error.__cause__, BrokenPipeError):  # else who read it has gone; the journal has everything
            _say_error(
                f"worker: its output cannot be written ({error}); what was measured is kept: give it another place, and the same "
                "command goes on from here"
            )
        return WORKER_FAILED


def _status(arguments: Sequence[str], events: EventStream) -> int:
    """Do what the arguments say; returns the exit status."""
    folder = os.path.dirname(os.path.abspath(sys.argv[0]))
    try:
        if arguments[:1] == ["--identify"] and len(arguments) == 2:
            events.event("identity", identify_worker(arguments[1], folder), "")
        elif arguments[:1] == ["--stream"] and 2 <= len(arguments) <= 4 and arguments[1].isdigit():
            client, replaced = (list(arguments[2:]) + [NOBODY, ""][len(arguments) - 2 :])[:2]
            run_job(folder, events, open_runtime, known=int(arguments[1]), client=client, replaced=replaced or None)
        elif not arguments:
            run_job(folder, events, open_runtime, known=None)
        else:
            raise WorkerError(f"got {' '.join(arguments)!r}, expected nothing, --stream N or --identify JSON")
    except WorkerError as error:
        return _refused(str(error), f"worker: {error}", events, WORKER_REFUSED)
    except OSError as error:
        where = folder if error.filename is None else one_line(error.filename)
        reason = f"{where}: {error.strerror or one_line(error)}; what was measured is kept, and the same command goes on from here"
        return _refused(reason, f"worker: {reason}", events, WORKER_REFUSED)
    except MemoryError:
        reason = f"{folder}: too little memory is free; what was measured is kept, and the same command goes on from here"
        return _refused(reason, f"worker: {reason}", events, WORKER_FAILED)
    except KeyboardInterrupt:
        return _refused("it was interrupted", "stopped; the same command goes on from here", events, WORKER_INTERRUPTED)
    return WORKER_DONE


def _refused(reason: str, text: str, events: EventStream, status: int) -> int:
    """Say why the worker ends, on standard error where the output is lost; returns the exit status."""
    try:
        events.event("error", reason, text)
    except OutputLostError:
        _leave_output()
        _say_error(text)
    return status


def _say_error(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode("utf-8", "backslashreplace"))


def open_standard_streams() -> None:
    """Let what the worker was started without go nowhere: else the next file that it opens would be its standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")


def _leave_output() -> None:
    """Let the rest of the output go nowhere, also what Python writes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def identify_worker(question: str, folder: str) -> Dict[str, Any]:
    """Identity of this device and its runtimes.

    Args:
        question: JSON with `backend`, `precision`, `threads` and `accelerator`.
        folder: The worker's folder.
    """
    try:
        request: Any = value_of(question.encode())
        backend, setup = request["backend"], Setup(request["precision"], request["threads"], request["accelerator"], folder)
    except (ValueError, KeyError, TypeError) as error:
        wanted = "an object with backend, precision, threads and accelerator"
        raise WorkerError(f"--identify: got {cut(question)}, expected {wanted}") from error
    runtime = open_runtime(backend, setup)
    busy, client = busy_with(folder)
    return dict(about_device(runtime, setup), clock=time.time(), busy=busy, busy_client=client, archive=archive_digest(folder))


def open_runtime(backend: str, setup: Setup) -> Runtime:
    """The runtime of a name; a package that only this user has installed counts too, though `python -I` leaves it out."""
    import site

    try:
        own = site.getusersitepackages()
    except KeyError:  # Python 3.6 to 3.8 without HOME, where the user has no entry in the list of users
        own = ""
    if os.path.isabs(own) and own not in sys.path and os.path.isdir(own):
        sys.path.append(own)
    if backend not in RUNTIMES:
        raise WorkerError(f"got runtime {backend!r}, expected one of {', '.join(RUNTIMES)}")
    if setup.accelerator not in ("cpu", "cuda"):
        raise WorkerError(f"got accelerator {setup.accelerator!r}, expected cpu or cuda")
    return RUNTIMES[backend](setup)


def _interrupted(number: int, frame: object) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
