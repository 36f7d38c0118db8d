"""Every module can be imported, its doctests hold, and none shadows the standard library; the public names are what they say."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import nas
from nas.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("nas", "search_spaces")
    for path in (CHECKOUT / package).rglob("*.py")
    if path.name != "__main__.py"
)


@pytest.mark.parametrize("name", MODULES)
def test_module_is_imported_and_its_doctests_hold(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    importlib.import_module(name)
    assert doctest.testmod(sys.modules[name]).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_named_like_the_standard_library_or_a_drawer(name):
    last = name.rpartition(".")[2]
    assert last not in sys.stdlib_module_names
    assert last not in {"utils", "helpers", "common", "misc"}


def test_public_names_are_functions_of_the_package():
    for name in nas.__all__:
        function = getattr(nas, name)
        assert inspect.isfunction(function)
        assert function.__module__ == "nas"


def test_importing_the_package_loads_no_torch():
    code = "import sys, nas; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_space_of_unknown_name_lists_those_there_are():
    with pytest.raises(ConfigError, match=r"got 'nowhere', expected one of lgcnet"):
        nas.build_space(type("Config", (), {"name": "nowhere"})())
