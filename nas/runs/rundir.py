"""Folders of runs: where a run writes, which run to go on with, and whether the settings are still the same."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from nas.config.jobs import SearchJob, TrainJob
from nas.devices.path_settings import home_written
from nas.errors import CheckpointError, ConfigError
from nas.files.atomic import write_text_atomic
from nas.files.command_words import setting
from nas.files.plain_yaml import MAX_BYTES, parse_plain_yaml, plain
from nas.files.shortening import printable, shorten
from nas.files.value_text import value_text

log = logging.getLogger("nas")

RUNS = Path("runs")
"""Folder of runs that name none, below the working folder."""
CONFIG = "config.yaml"
WEIGHTS = "weights.safetensors"
"""Weights that a training ended with."""
FINISHED = "done.json"
"""File that exists once a run has ended."""
METRICS = "metrics.jsonl"
CHECKPOINT = Path("checkpoints") / "last.pt"
"""Checkpoint that a run can be resumed from."""
RESUMED_VERBS = ("search", "train")
"""Verbs whose runs have settings."""
MAY_CHANGE = frozenset(
    {
        "out",
        "resume",
        "accept_changes",
        "search.epochs",
        "train.epochs",
        "search.log_every",
        "train.log_every",
        "trainer.accelerator",
        "trainer.checkpointing",
        "trainer.compile",
        "trainer.devices",
        "trainer.threads",
    }
)
"""Settings that a resumed run may have otherwise than before: length, devices, memory and logging."""
MOST_SHOWN = 20
"""Settings that a message lists before it only counts them."""
TRACKERS = "logger."
"""All settings of this section may change as well."""


def open_run(
    job: SearchJob | TrainJob,
    verb: str,
    *,
    total_steps: int | None = None,
    check: Callable[[Path], None] | None = None,
) -> Path:
    """The folder of a run, with `config.yaml` in it: a fresh one, or that of the run to resume.

    Args:
        job: The settings; `out` and `resume` decide the folder.
        verb: The verb, which names a fresh folder.
        total_steps: Steps that the settings make; None: whatever a run to resume has done may be more.
        check: Refuses a run to resume by its folder, before anything in it changes; None: nothing more is to be checked.

    Raises:
        ConfigError: If `out` is not empty, or the run to resume is not there, has other settings or has done more steps.
    """
    resume = job.resume
    if resume == "auto":
        resume = str(find_resumable(RUNS, verb, job)) if job.out is None else job.out
    folder = prepare_out(job.out, verb, resume)
    if resume is not None:
        check_same(folder, verb, job)
        if total_steps is not None:
            _check_length(folder, verb, job, total_steps)
        if check is not None:
            check(folder)
        (folder / FINISHED).unlink(missing_ok=True)
    write_config(folder, job, verb)
    return folder


def prepare_out(out: str | None, verb: str, resume: str | None) -> Path:
    """The folder that a run writes to, made if need be.

    Args:
        out: The folder wanted; None: a fresh one under `RUNS`, or that of the run to resume.
        verb: Names a fresh folder.
        resume: Folder of the run to resume; None: start from scratch.

    Raises:
        ConfigError: If `out` has something in it, is no folder, or is another folder than `resume`.
    """
    if resume is not None:
        return _folder_to_resume(out, resume)
    if out is None:
        return fresh(verb)
    folder = check_out(out, verb)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_out(out: str, verb: str) -> Path:
    """The folder wanted for a fresh run; nothing is made.

    Raises:
        ConfigError: If it has something in it or is no folder.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"out: {folder} is a file, expected a folder; give another out=")
    if folder.is_dir() and any(folder.iterdir()):
        go_on = f"go on with the run in it by {setting('resume', folder)}, or " if _may_go_on(folder, verb) else ""
        raise ConfigError(f"out: the folder {folder} is not empty; {go_on}give another out=")
    return folder


def _may_go_on(folder: Path, verb: str) -> bool:
    """Whether a verb knows resume= and the folder has a run to resume."""
    return verb in ("search", "train") and (folder / CHECKPOINT).is_file()


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


def write_config(out: Path, job: SearchJob | TrainJob, verb: str) -> None:
    """Write the settings of a run as plain YAML, the verb first."""
    write_text_atomic(out / CONFIG, yaml.safe_dump(_plain(job, verb), sort_keys=False))


def load_config(path: Path) -> dict[str, Any]:
    """The settings of a run, from its folder or its `config.yaml`.

    Raises:
        ConfigError: If there is no such file or it does not hold settings.
    """
    file = path / CONFIG if path.is_dir() else path
    try:
        with file.open("rb") as opened:
            content = parse_plain_yaml(opened.read(MAX_BYTES + 1).decode("utf-8")).data
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such file; expected the settings of a run, give the folder of one") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or "verb" not in content:
        raise ConfigError(f"{file}: got no settings of a run, expected a mapping with the key verb")
    if content["verb"] not in RESUMED_VERBS:
        raise ConfigError(f"{file}: verb: got {shorten(content['verb'])}, expected {' or '.join(RESUMED_VERBS)}")
    for name in ("data", "space", "search", "train", "trainer", "latency", "deploy", "distill", "logger"):
        if not isinstance(content.get(name, {}), dict):
            raise ConfigError(f"{file}: {name}: got {shorten(content[name])}, expected a mapping")
    return content


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
            if is_resumable(folder) and not _changed(folder, verb, job):
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
    return (folder / CHECKPOINT).is_file() and not (folder / FINISHED).exists()


def mark_finished(folder: Path, facts: Mapping[str, Any]) -> None:
    """Note that a run has come to its end, with its facts.

    Raises:
        FileNotFoundError: If a file that every run has is no longer there; the run does not count as finished.
    """
    for name in (CONFIG, METRICS, CHECKPOINT):
        if not (folder / name).is_file():
            raise FileNotFoundError(errno.ENOENT, "removed while the run worked", str(folder / name))
    write_text_atomic(folder / FINISHED, json.dumps(dict(facts)) + "\n")


def check_same(folder: Path, verb: str, job: SearchJob | TrainJob) -> None:
    """Refuse to resume a run with other settings than it has, save those of `MAY_CHANGE`.

    A setting that the run does not state did not exist when it began; it had its present default.

    Raises:
        ConfigError: Naming every key that differs, with both values.
    """
    keys = _changed(folder, verb, job)
    if keys:
        shown = [
            f"{printable(key)} (run: {printable(value_text(was))}, now: {printable(value_text(now))})"
            for key, (was, now) in list(keys.items())[:MOST_SHOWN]
        ]
        listed = ", ".join(shown) + (f" and {len(keys) - MOST_SHOWN} more" if len(keys) > MOST_SHOWN else "")
        raise ConfigError(
            f"resume: {folder} has other settings: {listed}; give the same ones, or start from scratch without resume"
        )


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


def _folder_to_resume(out: str | None, resume: str) -> Path:
    folder = Path(resume)
    if not (folder / CHECKPOINT).is_file():
        raise ConfigError(f"resume: {folder} has no {CHECKPOINT} to go on from; give the folder of a run, or leave resume out")
    if out is not None and Path(out).resolve() != folder.resolve():
        raise ConfigError(f"out: got {out} beside resume={resume}, expected the same folder; leave out= away")
    return folder


def _plain(job: SearchJob | TrainJob, verb: str) -> dict[str, Any]:
    return _as_read({"verb": verb, **dataclasses.asdict(job)})


def _as_read(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as YAML gives them back: no tuples, no dataclasses."""
    return dict(parse_plain_yaml(yaml.safe_dump(plain(settings), sort_keys=False)).data)


def _changed(folder: Path, verb: str, job: SearchJob | TrainJob) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> what the run of a folder has and what is given now, of every setting that may not change and did."""
    sections = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
    defaults = {
        name: dataclasses.asdict(type(one)())
        for name, one in sections.items()
        if dataclasses.is_dataclass(one) and not isinstance(one, type)
    }
    before = {**_flat(_as_read(defaults)), **_flat(load_config(folder))}
    for prefix, one in (("", job), *((f"{name}.", one) for name, one in sections.items())):
        before = home_written(before, prefix, type(one))
    return _differences(before, _flat(_plain(job, verb)))


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> both values, of every setting that may not change and did."""
    keys = [key for key in {**before, **after} if key not in MAY_CHANGE and not key.startswith(TRACKERS)]
    pairs = {key: (before.get(key, "absent"), after.get(key, "absent")) for key in keys}
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
