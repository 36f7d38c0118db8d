"""What packages with a space of their own import under the names of version 0.1."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys

import pytest

import nas.space
from nas.space.former_names import FORMER
from tests.golden.stored import FOLDER
from tests.small_jobs import CHECKOUT


@pytest.mark.parametrize("name", FORMER)
def test_former_name_is_found_at_any_time_with_a_warning(name, monkeypatch):
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{name} is now {FORMER[name]}"):
        importlib.import_module(name)


def test_settings_of_another_package_are_unpickled_by_a_process_that_has_loaded_nothing(monkeypatch):
    """As a launcher's process does with a job of a sweep."""
    monkeypatch.syspath_prepend(str(FOLDER / "outside"))
    settings = pickle.dumps(importlib.import_module("golden_outside").OutsideConfig(blocks=5))
    sys.modules.pop("golden_outside")
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).blocks)"
    path = os.pathsep.join((str(CHECKOUT), str(FOLDER / "outside")))
    done = subprocess.run(
        [sys.executable, "-c", code], input=settings, capture_output=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.strip() == b"5", done.stderr.decode()


@pytest.mark.parametrize("name", nas.space.__all__)
def test_names_for_a_space_of_ones_own_are_in_one_place(name):
    assert getattr(nas.space, name) is not None
