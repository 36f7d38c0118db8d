"""The scripts find what they share beside them, as they do when they are run; their commands run in this process."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

import nas.cli

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
sys.path.insert(0, str(EXPERIMENTS))


@pytest.fixture
def script_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[ModuleType, list[list[str]]]]:
    """(name of an experiment) -> its run.py, and the nas commands that it runs, each of which must end well."""

    def load(experiment: str) -> tuple[ModuleType, list[list[str]]]:
        name, commands = f"{experiment}_run", []
        monkeypatch.setattr(sys, "path", list(sys.path))
        spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / experiment / "run.py")
        assert spec is not None
        assert spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, script)
        spec.loader.exec_module(script)

        def run(command: Sequence[str]) -> None:
            commands.append(list(command))
            assert nas.cli.main(list(command)) == 0

        monkeypatch.setattr(script, "run", run)
        return script, commands

    return load
