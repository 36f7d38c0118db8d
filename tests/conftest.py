"""Fixtures of several test files."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.cli import main
from nas.data import synthetic
from nas.data.street import draw_scene
from nas.reports.run_report import RunFiles


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def err_lines(self) -> list[str]:
        return self.err.splitlines()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's folders do not lie in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("nas.measuring.runners.local_place.cache_folder", lambda: folder)


@pytest.fixture(autouse=True)
def _no_pictures_of_searches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches in this process end with a page without pictures, whose drawing takes longer than a search of two steps.

    Tests marked `pages` get the real one.
    """
    if request.node.get_closest_marker("pages") is None:
        monkeypatch.setattr("nas.stages.search.write_report", _write_empty_page)


def _write_empty_page(files: RunFiles, folder: Path, *_: object) -> Path:
    path = folder / "report.html"
    path.write_text(f"<!doctype html><title>{files.run.name}</title>\n")
    return path


@functools.lru_cache(maxsize=128)
def _scene(state: str, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    rng = np.random.default_rng()
    rng.bit_generator.state = json.loads(state)
    image, label = draw_scene(rng, size)
    return image, label, rng.bit_generator.state


def _remembered_scene(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    image, label, rng.bit_generator.state = _scene(json.dumps(rng.bit_generator.state), size)
    return image.copy(), label.copy()


@pytest.fixture(autouse=True)
def _scenes_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and exports of a process share their synthetic scenes, whose drawing takes a third of a training of six steps."""
    monkeypatch.setattr(synthetic, "draw_scene", _remembered_scene)
    monkeypatch.setattr("nas.exporting.onnx_check.draw_scene", _remembered_scene)


@pytest.fixture
def bf16_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets bf16-mixed, which is refused on the CPU, compute there what it would on a GPU, for a step or two."""
    monkeypatch.setattr("nas.distributed.fabric.check_precision", lambda *_, **__: None)


@pytest.fixture
def run_nas(tmp_path, monkeypatch, capsys) -> Callable[..., Outcome]:
    """Runs a command line in-process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> Outcome:
        capsys.readouterr()
        status = main(list(argv))
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run
