"""Folders of runs: where a run writes, which run to go on with, and whether the settings are still the same."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from nas.config.jobs import SearchJob, TrainJob
from nas.devices.sole_writer import sole_writer
from nas.errors import CheckpointError, ConfigError, UserError
from nas.files.atomic import is_temporary, remove_leftovers, write_text_atomic
from nas.files.command_words import setting
from nas.files.shortening import shorten
from nas.files.strict_json import parse_strict
from nas.runs.run_config import CONFIG, changed_settings, check_same, load_config, write_config

log = logging.getLogger("nas")

RUNS = Path("runs")
"""Folder of runs that name none, below the working folder."""
WEIGHTS = "weights.safetensors"
"""Weights that a training ended with."""
FINISHED = "done.json"
"""File that exists once a run has ended."""
METRICS = "metrics.jsonl"
LOCK = ".lock"
"""The lock of a folder: who searches or trains there, or writes a folder of results; see `nas/devices/sole_writer.py`."""
RESULTS_LOCK = ".results.lock"
"""The lock of those who add results to a run, which may go on meanwhile: derive, eval, predict, export, report."""
LOCKS = (LOCK, RESULTS_LOCK)
SETTINGS = "settings.json"
"""The settings of results that are added to, where a verb goes on."""
CHECKPOINT = Path("checkpoints") / "last.pt"
"""Checkpoint that a run can be resumed from."""
_ANOTHER_OUT = "give another folder by out="
_ANOTHER_RUN = "start a new run, with another out= and without resume="
"""What to do about a folder that another process writes to, beside waiting."""


@contextmanager
def open_run(
    job: SearchJob | TrainJob,
    verb: str,
    *,
    total_steps: int | None = None,
    check: Callable[[Path], None] | None = None,
) -> Iterator[Path]:
    """The folder of a run, with `config.yaml` in it, held against other writers: a fresh one, or that of the run to go on with.

    In a run to go on with nothing is changed before `go_on`, so that one that is refused stays what it was.
    `resume=auto` beside `out` serves the first start and every later one: a folder without a checkpoint starts from scratch.

    Args:
        job: The settings; `out` and `resume` decide the folder.
        verb: The verb, which names a fresh folder.
        total_steps: Steps that the settings make; None: whatever a run to resume has done may be more.
        check: Refuses a run to resume by its folder, before anything in it changes; None: nothing more is to be checked.

    Raises:
        ConfigError: If `out` is not empty, or the run to resume is not there, has other settings or has done more steps; if
            another process writes there.
    """
    # beside resume=RUN no other out is taken
    remedy = _ANOTHER_OUT if job.resume is None or (job.resume == "auto" and job.out) else _ANOTHER_RUN
    with _held(_wanted(job, verb), verb, remedy=remedy) as folder:
        if job.resume is not None and has_checkpoint(folder):
            check_same(folder, verb, job)
            if total_steps is not None:
                _check_length(folder, verb, job, total_steps)
            if check is not None:
                check(folder)
        elif job.resume == "auto" and _stopped_early(folder, verb):
            (folder / METRICS).unlink(missing_ok=True)  # the steps of before are taken again
            write_config(folder, job, verb)
        else:
            _require_empty(folder, verb)
            write_config(folder, job, verb)
        yield folder


def go_on(folder: Path, job: SearchJob | TrainJob, verb: str) -> None:
    """Note that a run goes on, with the settings of now: to be called once its checkpoint is taken up."""
    (folder / FINISHED).unlink(missing_ok=True)
    write_config(folder, job, verb)


@contextmanager
def held_out(out: str | None, verb: str, *, run: str | None = None) -> Iterator[Path]:
    """The folder that a verb writes results to, made if need be and held against other writers of results.

    A run that goes on meanwhile is no obstacle: it writes other files, and results are written whole. A folder that was made for
    input that is then refused goes again, if nothing is in it.

    Args:
        out: The folder wanted, which has nothing in it; None: that of the run, or else a fresh one under `RUNS`.
        verb: The verb, with its sub-verb; it names a fresh folder.
        run: The run that the results are of.

    Raises:
        ConfigError: If `out` has something in it or is no folder, or another process writes there.
    """
    if out is None and run is not None:
        with _held(Path(run), verb, lock=RESULTS_LOCK) as folder:
            yield folder
        return
    wanted = fresh(verb.split()[-1]) if out is None else _folder(out)
    is_new = out is None or not wanted.exists()
    try:
        with _held(wanted, verb) as folder:
            _require_empty(folder, verb)
            yield folder
    except UserError:
        if is_new:
            with suppress(OSError):  # something is in it
                wanted.rmdir()
        raise


@contextmanager
def held_to_go_on(out: str | None, verb: str, settings: Mapping[str, Any], *, goes_on: bool) -> Iterator[Path]:
    """The same for a verb that can go on in a folder where it was stopped, with the settings that its results depend on.

    Args:
        out: The folder wanted; None: a fresh one under `RUNS`.
        verb: The verb, with its sub-verb.
        settings: Plain data, kept in the folder.
        goes_on: Whether the folder may hold what the verb left there with these settings; else it has nothing in it.

    Raises:
        ConfigError: If the folder holds something else, or results of other settings, or another process writes there.
    """
    wanted = fresh(verb.split()[-1]) if out is None else _folder(out)
    with _held(wanted, verb) as folder:
        path, wanted_settings = folder / SETTINGS, {"verb": verb, **settings}
        if not (goes_on and path.is_file()):
            _require_empty(folder, verb)
            write_text_atomic(path, json.dumps(wanted_settings, indent=1) + "\n")
        elif (kept := _plain_settings(path)) != wanted_settings:
            differing = ", ".join(key for key in wanted_settings if kept.get(key) != wanted_settings[key])
            raise ConfigError(
                f"out: the folder {folder} holds results of another {differing}; give another out=, or the same settings"
            )
        yield folder


def _plain_settings(path: Path) -> dict[str, Any]:
    try:
        content = parse_strict(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"got {shorten(content)}, expected an object")
    except ValueError as error:
        raise ConfigError(f"{path}: {error}; give another out=") from error
    return content


def has_checkpoint(folder: Path) -> bool:
    """Whether a run can be gone on with."""
    return (folder / CHECKPOINT).is_file()


def _wanted(job: SearchJob | TrainJob, verb: str) -> Path:
    """The folder that the settings of a run mean."""
    if job.resume == "auto" and job.out is not None:
        return _folder(job.out)
    if job.resume is not None:
        return _folder_to_resume(job.out, str(find_resumable(RUNS, verb, job)) if job.resume == "auto" else job.resume, verb)
    if job.out is None:
        return fresh(verb)
    return _folder(job.out)


def check_out(out: str, verb: str) -> None:
    """Refuse a folder for fresh results before anything is built; nothing is made.

    Raises:
        ConfigError: If another process writes there, it has something in it or is no folder.
    """
    folder = _folder(out)
    if not folder.is_dir():
        return
    if (folder / LOCK).is_file():  # who writes there is said first: nobody can go on with its run now
        with _held(folder, verb):
            _require_empty(folder, verb)
    _require_empty(folder, verb)


def _folder(out: str) -> Path:
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"out: {folder} is a file, expected a folder; give another out=")
    return folder


@contextmanager
def _held(folder: Path, verb: str, *, lock: str = LOCK, remedy: str = _ANOTHER_OUT) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    with sole_writer(folder / lock, verb, of=f"the folder {folder}", remedy=remedy):
        for one in (folder, *(inside for inside in folder.iterdir() if inside.is_dir())):
            remove_leftovers(one)
        yield folder


def _require_empty(folder: Path, verb: str) -> None:
    """Refuse a folder with something in it, with a remedy that works."""
    if all(path.name in LOCKS or is_temporary(path) for path in folder.iterdir()):
        return
    remedy = "give another out="
    if has_checkpoint(folder) and (folder / METRICS).is_file() and _verb_of(folder) == verb:
        remedy = f"go on with the run in it by {setting('resume', folder)}, or {remedy}"
    elif (folder / SETTINGS).is_file() and _plain_settings(folder / SETTINGS).get("verb") == verb:
        remedy = f"go on in it by adding resume=auto, or {remedy}"
    elif _stopped_early(folder, verb):
        again = f"{setting('out', folder)} resume=auto"
        remedy = f"its nas {verb} stopped before the first checkpoint, start it again by {again}, or {remedy}"
    raise ConfigError(f"out: the folder {folder} is not empty; {remedy}")


def _stopped_early(folder: Path, verb: str) -> bool:
    """Whether a folder holds a run of a verb that ended before its first checkpoint: nothing of it is lost by starting again.

    Of a finished run, the checkpoint may have been deleted to save room.
    """
    has_results = any((folder / name).exists() for name in (WEIGHTS, FINISHED))
    return not has_checkpoint(folder) and not has_results and _verb_of(folder) == verb


def _verb_of(folder: Path) -> object:
    """The verb whose run a folder holds; None: it holds none, or settings that cannot be read."""
    try:
        return load_config(folder)["verb"]
    except ConfigError:
        return None


def fresh(verb: str) -> Path:
    """A new folder under `RUNS`, named after the verb and the time; made here, so two processes never share one."""
    stem = f"{verb}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in count(1):
        folder = RUNS / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count never ends")


def find_resumable(runs: Path, verb: str, job: SearchJob | TrainJob) -> Path:
    """The newest unfinished run of the same verb and settings, among the folders of `runs` and those of sweeps in it.

    What cannot be read is passed over, with a warning.

    Raises:
        ConfigError: If there is none.
    """
    from nas.runs.checkpoint import load_checkpoint  # loads PyTorch, which the help of a verb does without

    found = []
    for config in [*runs.glob(f"*/{CONFIG}"), *runs.glob(f"*/*/{CONFIG}")]:
        folder = config.parent
        try:
            if is_resumable(folder) and not changed_settings(folder, verb, job):
                found.append(folder)
        except ConfigError as error:
            log.warning("resume=auto: passed over %s: %s", folder, error)
    found.sort(key=lambda folder: ((folder / CHECKPOINT).stat().st_mtime_ns, folder.name), reverse=True)
    for folder in found:
        try:
            load_checkpoint(folder / CHECKPOINT)
        except CheckpointError as error:
            log.warning("resume=auto: passed over %s", error)
        else:
            return folder
    raise ConfigError(
        f"resume: got auto, and {runs}/ has no unfinished nas {verb} with these settings and a checkpoint that can be read; "
        "give resume=FOLDER of a run, or leave resume out to start from scratch"
    )


def is_resumable(folder: Path) -> bool:
    """Whether a run has a checkpoint and has not come to its end."""
    return has_checkpoint(folder) and not (folder / FINISHED).exists()


def mark_finished(folder: Path, facts: Mapping[str, Any]) -> None:
    """Note that a run has come to its end, with its facts.

    Raises:
        FileNotFoundError: If a file that every run has is no longer there; the run does not count as finished.
    """
    for name in (CONFIG, METRICS, CHECKPOINT):
        if not (folder / name).is_file():
            raise FileNotFoundError(errno.ENOENT, "removed while the run worked", str(folder / name))
    write_text_atomic(folder / FINISHED, json.dumps(dict(facts)) + "\n")


def _check_length(folder: Path, verb: str, job: SearchJob | TrainJob, total_steps: int) -> None:
    """Refuse to end a run before where it is."""
    from nas.runs.checkpoint import load_checkpoint, steps_done  # loads PyTorch, which the help of a verb does without

    before = load_config(folder).get(verb, {}).get("epochs", 0)
    if type(before) is not int:
        raise ConfigError(f"{folder / CONFIG}: {verb}.epochs: got {shorten(before)}, expected a whole number")
    epochs = job.search.epochs if isinstance(job, SearchJob) else job.train.epochs
    if epochs >= before:
        return
    done = steps_done(load_checkpoint(folder / CHECKPOINT), folder / CHECKPOINT)
    if done > total_steps:
        raise ConfigError(
            f"{verb}.epochs: got {epochs}, which are {total_steps} steps, and {folder} has done {done} already (of {before} "
            "epochs); give more epochs, or start from scratch without resume"
        )


def _folder_to_resume(out: str | None, resume: str, verb: str) -> Path:
    folder = Path(resume)
    if not has_checkpoint(folder):
        remedy = "give the folder of a run, or leave resume out"
        if _stopped_early(folder, verb):
            remedy = f"start it again by {setting('out', folder)} resume=auto"
        raise ConfigError(f"resume: {folder} has no {CHECKPOINT} to go on from; {remedy}")
    if out is not None and Path(out).resolve() != folder.resolve():
        raise ConfigError(f"out: got {out} beside resume={resume}, expected the same folder; leave out= away")
    return folder
