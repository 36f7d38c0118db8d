"""Fixtures of several test files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from nas.cli.command_line import main


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
