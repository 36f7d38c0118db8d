"""The JSON files of a run, read strictly: how it ended, what an evaluation found, what its network is predicted to take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas.errors import ConfigError
from nas.files.shortening import shorten
from nas.files.strict_json import as_count, as_number, as_size, as_text, as_texts, parse_strict

MAX_BYTES = 16_000_000
"""Largest file that is read."""

_Object = dict[str, Any]


def read_done(path: Path) -> _Object | None:
    """The facts of the end of a run; None if there is no file. Raises `ConfigError`."""
    return _read(path, _check_done)


def read_evaluation(path: Path) -> _Object | None:
    """What an evaluation found; None if there is no file. Raises `ConfigError`."""
    return _read(path, _check_evaluation)


def read_prediction(path: Path) -> _Object | None:
    """Predicted latency by part; None if there is no file. Raises `ConfigError`."""
    return _read(path, _check_prediction)


def _read(path: Path, check: Callable[[_Object], None]) -> _Object | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"got more than {MAX_BYTES} bytes")
        found = _object(parse_strict(content.decode("utf-8")), "the file")
        check(found)
    except ValueError as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}; remove it or put it back") from error
    return found


def _object(value: object, where: str) -> _Object:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: got {shorten(value)}, expected a JSON object")
    return value


def _check_done(found: _Object) -> None:
    if found.get("seconds") is not None and as_number(found["seconds"], "seconds") < 0:
        raise ValueError(f"seconds: got {shorten(found['seconds'])}, expected at least 0")


def _check_evaluation(found: _Object) -> None:
    for name in ("split", "data", "weights", "weights_sha256"):
        if name in found:
            as_text(found[name], name)
    if "images" in found:
        as_count(found["images"], "images", minimum=0)
    if found.get("miou") is not None:
        as_number(found["miou"], "miou")
    if "size" in found:
        as_size(found["size"], "size")
    if "pictures" in found:
        as_texts(found["pictures"], "pictures")
    if "latency" in found:
        _check_latency(_object(found["latency"], "latency"))
    if "data_settings" in found:
        _object(found["data_settings"], "data_settings")
    _check_classes(_object(found.get("classes", {}), "classes"))


def _check_classes(found: _Object) -> None:
    for name, scores in found.items():
        iou = _object(scores, f"classes.{shorten(name)}").get("iou")
        if iou is not None:
            as_number(iou, f"classes.{shorten(name)}.iou")


def _check_latency(found: _Object) -> None:
    for name in ("table", "unit", "known_from"):
        as_text(found.get(name), f"latency.{name}")
    as_number(found.get("predicted"), "latency.predicted")
    _check_bounds(found, "latency.low and latency.high")


def _check_bounds(found: _Object, where: str) -> None:
    bounds = [found.get(name) for name in ("low", "high")]
    if bounds != [None, None]:
        for bound in bounds:
            as_number(bound, where)


def _check_prediction(found: _Object) -> None:
    for name in ("table", "unit"):
        as_text(found.get(name), name)
    as_number(found.get("latency"), "latency")
    _check_bounds(found, "low and high")
    for part, cost in _object(found.get("by_part"), "by_part").items():
        as_number(cost, f"by_part.{shorten(part)}")
