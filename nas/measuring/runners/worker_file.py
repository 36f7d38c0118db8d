"""The worker as one file: the modules of `nas.worker`, joined in the order in which they need each other."""

from __future__ import annotations

import ast
import functools
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = "nas.worker"
MAIN = "main"
"""The module that a device runs; it stands last."""


@functools.cache
def worker_source() -> str:
    """The text of the worker's one file.

    Each module is taken as it is but for its imports of other modules of the worker, whose names are there already.

    Raises:
        ValueError: If two modules define the same name, or one imports another in a way that cannot be joined.
    """
    folder = Path(__file__).resolve().parents[2] / "worker"
    return join_modules({path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))}, main=MAIN)


def join_modules(texts: dict[str, str], *, main: str) -> str:
    """One module out of several.

    Args:
        texts: Name -> source of each module of the package; `__init__` is the description of the whole.
        main: The module to which everything leads; others that it does not need are left out.

    Raises:
        ValueError: See `worker_source`.
    """
    trees = {name: ast.parse(text, filename=name) for name, text in texts.items()}
    needs = {name: _needed_by(name, tree) for name, tree in trees.items()}
    order = [name for name in TopologicalSorter(_reachable(needs, main)).static_order() if name != "__init__"]
    seen: dict[str, tuple[str, str]] = {}
    for name in order:
        for defined, meaning in _defined(name, trees[name]).items():
            other, as_before = seen.setdefault(defined, (name, meaning))
            if meaning != as_before:
                raise ValueError(f"worker: {defined} is defined in {other} and in {name}, expected different names")
    parts = [_without_own_imports(texts[name], trees[name]) for name in order]
    return "\n\n".join([texts["__init__"].rstrip(), *(part.strip("\n") for part in parts)]) + "\n"


def _needed_by(name: str, tree: ast.Module) -> set[str]:
    """The modules of the package that one imports from."""
    needed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name.startswith("nas") for alias in node.names):
            raise ValueError(f"worker: {name} line {node.lineno} imports a module whole, expected from {PACKAGE}.X import names")
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("nas")):
            outside = node.level or not (node.module or "").startswith(f"{PACKAGE}.")
            renamed = any(alias.asname is not None or alias.name == "*" for alias in node.names)
            if outside or renamed or node not in tree.body:
                raise ValueError(
                    f"worker: {name} line {node.lineno}: expected from {PACKAGE}.X import names, at the top, not renamed"
                )
            needed.add(str(node.module).removeprefix(f"{PACKAGE}."))
    return needed


def _reachable(needs: dict[str, set[str]], main: str) -> dict[str, list[str]]:
    """Modules that `main` needs, directly or not, with the needs of each, in an order that is always the same."""
    found: dict[str, list[str]] = {}
    todo = [main]
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = sorted(needs[name])
            todo += found[name]
    return found


def _defined(name: str, tree: ast.Module) -> dict[str, str]:
    """The names that a module binds at its top level, branches included, with what each means; imports mean the same anywhere."""
    found: dict[str, str] = {}
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = name  # what is inside has a scope of its own
        elif isinstance(node, ast.Import):
            bound = [(alias.name, alias.asname) if alias.asname else (alias.name.partition(".")[0],) * 2 for alias in node.names]
            found.update({own: f"import {imported}" for imported, own in bound})
        elif isinstance(node, ast.ImportFrom):
            if not str(node.module).startswith(f"{PACKAGE}."):
                found.update({alias.asname or alias.name: f"from {node.module} import {alias.name}" for alias in node.names})
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = name
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            todo += ast.iter_child_nodes(node)
    return found


def _without_own_imports(text: str, tree: ast.Module) -> str:
    """A module's text without its imports of the package's other modules."""
    lines = text.split("\n")
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{PACKAGE}."):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (int(node.end_lineno or node.lineno) - node.lineno + 1)
    return "\n".join(lines)
