"""Modules under the names that they had in version 0.1, for packages that bring a space of their own and import those.

Such a package may import late, when its space is built, or early in a process of a sweep, which unpickles its config first. So the
former names are found from the first `import nas` on.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
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


def find_former_names() -> None:
    """Let imports find modules under their former names, after all others."""
    if not any(isinstance(finder, _FormerNames) for finder in sys.meta_path):
        sys.meta_path.append(_FormerNames())
