"""The settings of a run in its folder: written, read strictly, and compared with those of now."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nas.config.jobs import SearchJob, TrainJob
from nas.devices.path_settings import home_written
from nas.errors import ConfigError
from nas.files.atomic import write_text_atomic
from nas.files.plain_yaml import MAX_BYTES, parse_plain_yaml, plain
from nas.files.regular_file import read_regular
from nas.files.shortening import printable, shorten
from nas.files.value_text import value_text

CONFIG = "config.yaml"
RESUMED_VERBS = ("search", "train")
"""Verbs whose runs have settings."""
MAY_CHANGE = frozenset(
    {
        "out",
        "resume",
        "accept_changes",
        "data.workers",
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
"""Settings that a resumed run may have otherwise than before: length, devices, processes, memory and logging."""
MOST_SHOWN = 20
"""Settings that a message lists before it only counts them."""
TRACKERS = "logger."
"""All settings of this section may change as well."""


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
        content = parse_plain_yaml(read_regular(file, MAX_BYTES + 1).decode("utf-8")).data
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


def check_same(folder: Path, verb: str, job: SearchJob | TrainJob) -> None:
    """Refuse to resume a run with other settings than it has, save those of `MAY_CHANGE`.

    A setting that the run does not state did not exist when it began; it had its present default.

    Raises:
        ConfigError: Naming every key that differs, with both values.
    """
    keys = changed_settings(folder, verb, job)
    if keys:
        shown = [
            f"{printable(key)} (run: {printable(value_text(was))}, now: {printable(value_text(now))})"
            for key, (was, now) in list(keys.items())[:MOST_SHOWN]
        ]
        listed = ", ".join(shown) + (f" and {len(keys) - MOST_SHOWN} more" if len(keys) > MOST_SHOWN else "")
        raise ConfigError(
            f"resume: {folder} has other settings: {listed}; give the same ones, or start from scratch in another folder, "
            "without resume"
        )


def _plain(job: SearchJob | TrainJob, verb: str) -> dict[str, Any]:
    return _as_read({"verb": verb, **dataclasses.asdict(job)})


def _as_read(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as YAML gives them back: no tuples, no dataclasses."""
    return dict(parse_plain_yaml(yaml.safe_dump(plain(settings), sort_keys=False)).data)


def changed_settings(folder: Path, verb: str, job: SearchJob | TrainJob) -> dict[str, tuple[Any, Any]]:
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
