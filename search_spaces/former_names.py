"""Modules under the names that they had in version 0.1, for packages that bring a space of their own and import those."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

FORMER = {
    "nas.graph": "nas.space.graph",
    "nas.genotype": "nas.space.genotype",
    "nas.setting_checks": "nas.config.checks",
    "nas.relax": "nas.supernet.relaxation",
    "nas.relax.weights": "nas.space.weights",
}
"""Former name -> present one."""


class _FormerNames(MetaPathFinder, Loader):
    """Finds a module under its former name and warns."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A module of this name, if it is a former one."""
        del path, target
        return ModuleSpec(fullname, self, is_package=True) if fullname in FORMER else None

    def create_module(self, spec: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: ModuleType) -> None:
        """Give the module what the present one has."""
        present = FORMER[module.__name__]
        warnings.warn(f"module {module.__name__} is now {present}; import it from there", DeprecationWarning, stacklevel=2)
        names = vars(importlib.import_module(present))
        vars(module).update({name: value for name, value in names.items() if not name.startswith("__")})


@contextmanager
def former_names() -> Iterator[None]:
    """Let imports inside find modules under their former names."""
    finder = _FormerNames()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
