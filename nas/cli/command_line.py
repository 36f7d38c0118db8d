"""The command `nas VERB [KEY=VALUE ...]`: one function a verb; prints, and maps what is raised to an exit status."""

from __future__ import annotations

import difflib
import logging
import os
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nas
from nas.cli.file_faults import file_faults, try_out
from nas.cli.standard_streams import standard_streams
from nas.cli.sweeps import INTERRUPTED, TERMINATED, JobResult
from nas.cli.torchrun import run_under_torchrun
from nas.cli.verbs import SUB_VERBS, TAKES_RECIPES, VERBS, recipe_keys, verb_of
from nas.devices.parent_death import end_with_parent
from nas.distributed.world import VERBS as SHARED_VERBS
from nas.distributed.world import starter, world
from nas.errors import FailedCheckError, LostProcessError, ResumableError, TerminatedError, UserError
from nas.files.shortening import safe_message

if TYPE_CHECKING:
    from nas.cli.hydra_app import VerbApp

DONE, FAILED, WRONG_INPUT = 0, 1, 2
"""The exit statuses beside that of Ctrl-C."""
FIRST_SPEAKS_S = 10.0
"""Seconds in which a process waits to be ended by torchrun, before it says itself what stopped it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: The arguments after `nas`; None: those of this process.

    Returns:
        0: done; 2: the user's input is wrong, said in one or two lines on stderr; 1: anything else; 130: Ctrl-C; 143: SIGTERM,
        once a checkpoint was saved.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        return _told(_usage())
    if arguments[0] == "--version":
        return _told(f"segnas {nas.__version__}")
    name, *rest = arguments
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        print(f"nas: got {name!r}, expected one of the verbs {', '.join(VERBS)}{hint}", file=sys.stderr)
        return WRONG_INPUT
    try:
        Path.cwd()
    except OSError as error:
        print(f"nas {name}: the working folder cannot be used ({error.strerror}); change to one that is there", file=sys.stderr)
        return WRONG_INPUT
    if rest and rest[0] in SUB_VERBS.get(name, {}):
        return _run_verb(f"{name} {rest[0]}", rest[1:])
    return _run_verb(name, rest)


def _told(text: str) -> int:
    """Print a text; who reads our output may have gone, as `head` does: then nothing is left to print."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _leave_pipe()
        return FAILED
    return DONE


def _leave_pipe() -> None:
    """Write to nowhere from now on, so that the interpreter does not complain of a broken pipe when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def entry() -> None:
    """The console command: `main` with its status as the status of the process.

    One of several processes ends with the one that started it, however that ends: nobody else would stop it.
    """
    if world().count > 1:
        end_with_parent(starter())
    with standard_streams() as out:
        status = main()
        with suppress(BrokenPipeError):
            sys.stdout.flush()
        if out.failure is not None and world().number == 0:
            reason = out.failure.strerror
            print(f"nas: the standard output cannot be written ({reason}); what was written to files is whole", file=sys.stderr)
            status = status or FAILED
    sys.exit(status)


def _usage() -> str:
    width = max(map(len, VERBS))
    lines = []
    for name in VERBS:
        lines.append(f"  {name:{width}}  {VERBS[name].line}")
        lines += [f"  {'':{width}}    {name} {sub}: {one.line}" for sub, one in SUB_VERBS.get(name, {}).items()]
    return "\n".join(
        [
            "usage: nas VERB [KEY=VALUE ...]",
            "",
            *lines,
            "",
            "nas VERB --help lists the settings of a verb, --cfg job prints them as given,",
            "--multirun runs every combination of KEY=A,B; nas --version prints the version.",
        ]
    )


class _SaidInterrupt(KeyboardInterrupt):
    """Ctrl-C, which the first of several processes has said already."""


@dataclass(frozen=True, slots=True)
class _Work:
    """Does the jobs of a verb; a launcher may send it to other processes.

    Args:
        verb: The verb, with its sub-verb.
        argv: What was given after it.
    """

    verb: str
    argv: tuple[str, ...]

    def do(self, job: Any, name: str) -> JobResult:  # noqa: ANN401
        with file_faults(job):
            if world().number == 0:
                try_out(job, verb_of(self.verb).writes, self.verb)
            return self._do(job, name)

    def _do(self, job: Any, name: str) -> JobResult:  # noqa: ANN401
        if self.verb in SHARED_VERBS and job.trainer.devices > 1 and world().count == 1:
            return self._start_several(job, name)
        if world().number:
            logging.getLogger("nas").setLevel(logging.ERROR)
        lines = verb_of(self.verb).run(job)
        return JobResult(name, lines=() if world().number else tuple(lines))

    def failed(self, error: Exception, name: str) -> JobResult:
        status, fault = _fault(error, f"nas {self.verb}: {name}: " if name else f"nas {self.verb}: ", one_line=bool(name))
        lines = error.lines if isinstance(error, FailedCheckError) and not world().number else ()
        return JobResult(name, status, lines, fault)

    def _start_several(self, job: Any, name: str) -> JobResult:  # noqa: ANN401
        """Check what this process can, then run the same command, or what it says for this job, in as many processes as devices."""
        from nas.cli.hydra_app import in_sweep, own_arguments
        from nas.distributed.world import check_devices

        check_devices(job.trainer, world(), starts=True)
        words = own_arguments(self.argv, job.out) if in_sweep() else self.argv
        try:
            status = run_under_torchrun([self.verb, *words], job.trainer.devices)
        except KeyboardInterrupt:
            raise _SaidInterrupt from None
        said = name and status not in (DONE, INTERRUPTED, TERMINATED)
        return JobResult(name, status, fault=f"nas {self.verb}: {name}: its processes ended with status {status}" if said else "")


def _run_verb(name: str, argv: Sequence[str]) -> int:
    statuses: list[int] = []

    def tell(result: JobResult) -> None:
        if result.lines:
            sys.stdout.write("\n".join(result.lines) + "\n")
            sys.stdout.flush()
        if result.fault:
            print(result.fault, file=sys.stderr, flush=True)
        if result.status != DONE:
            statuses.append(result.status)

    try:
        from nas.cli.hydra_app import run_app

        with file_faults(argv):
            run_app(_app(name, argv), argv, _Work(name, tuple(argv)), tell=tell)
    except KeyboardInterrupt as stop:
        return _stopped(stop, name)
    except Exception as error:  # noqa: BLE001  the last place that can say what happened
        status, fault = _fault(error, f"nas {name}: ")
        if fault:
            print(fault, file=sys.stderr, flush=True)
        return status
    return statuses[0] if statuses else DONE


def _stopped(stop: KeyboardInterrupt, verb: str) -> int:
    """Say that a signal stopped a verb; of several processes the first says so. The exit status."""
    is_terminated = isinstance(stop, TerminatedError)
    if world().number == 0 and not isinstance(stop, _SaidInterrupt):
        print(f"nas {verb}: {'ended by SIGTERM; a checkpoint was saved' if is_terminated else 'interrupted'}", file=sys.stderr)
    return TERMINATED if is_terminated else INTERRUPTED


def _app(name: str, argv: Sequence[str]) -> VerbApp:
    from nas.cli.hydra_app import VerbApp
    from nas.cli.verb_groups import groups_of
    from nas.files.shipped import conf_dir

    return VerbApp(
        verb=name,
        line=verb_of(name).line,
        schema=verb_of(name).job,
        groups=groups_of(verb_of(name).job, argv),
        conf_dir=conf_dir(),
        recipe_keys=recipe_keys() if name in TAKES_RECIPES else (),
        sub_verbs=tuple(SUB_VERBS.get(name, ())),
        sweep_out=verb_of(name).sweep_out,
    )


def _fault(error: Exception, prefix: str, *, one_line: bool = False) -> tuple[int, str]:
    """The exit status, and what to say on stderr; a traceback only if the user cannot correct it.

    Of several processes that fail alike the first one speaks; torchrun then ends the others. Who misses another process waits, too:
    torchrun knows better what became of it, and says so.
    """
    several, number = world().count > 1, world().number
    if number or (several and isinstance(error, LostProcessError)):
        time.sleep(FIRST_SPEAKS_S)
    if number:
        prefix = f"{prefix}process {number}: "
    if isinstance(error, UserError | FailedCheckError | ResumableError):
        message = " ".join(str(error).split()) if one_line else str(error)
        return WRONG_INPUT if isinstance(error, UserError) else FAILED, safe_message(f"{prefix}{message}")
    if isinstance(error, BrokenPipeError):  # who read our output has gone, as `head` does; nothing is left to tell
        _leave_pipe()
        return FAILED, ""
    if (shortage := _shortage(error)) is not None:
        return (
            FAILED,
            f"{prefix}out of memory ({shortage}); take smaller images or batches, fewer channels, or a machine with more memory",
        )
    if _hides_interrupt(error):
        return INTERRUPTED, f"{prefix}interrupted"
    trace = "".join(traceback.format_exception(error)).rstrip("\n")
    return FAILED, f"{trace}\n{prefix}{type(error).__name__}" if one_line else trace


def _hides_interrupt(error: BaseException | None) -> bool:
    """Whether an error only followed from Ctrl-C, as where it meets OmegaConf in the middle of a change."""
    while error is not None and type(error) is not KeyboardInterrupt:
        error = error.__cause__ or error.__context__
    return error is not None


def _shortage(error: Exception) -> str | None:
    """What an allocator said, in one line; None: the error is about something else."""
    if "torch" not in sys.modules:  # too little memory to load it
        return str(error) or "MemoryError" if isinstance(error, MemoryError) else None
    from nas.training.out_of_memory import shortage_of

    found = shortage_of(error)
    return None if found is None else found.reason
