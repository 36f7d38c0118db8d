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
    folder = Path(__file__).resolve().parent.parent / "worker"
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
    seen: dict[str, str] = {}
    for name in order:
        for defined in _defined(trees[name]):
            if defined in seen:
                raise ValueError(f"worker: {defined} is defined in {seen[defined]} and in {name}, expected different names")
            seen[defined] = name
    parts = [_without_own_imports(texts[name], trees[name]) for name in order]
    return "\n\n".join([texts["__init__"].rstrip(), *(part.strip("\n") for part in parts)]) + "\n"


def _needed_by(name: str, tree: ast.Module) -> set[str]:
    """The modules of the package that one imports from."""
    needed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name.startswith("nas") for alias in node.names):
            raise ValueError(f"worker: {name} line {node.lineno} imports a module whole, expected from {PACKAGE}.X import names")
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nas"):
            outside = not (node.module or "").startswith(f"{PACKAGE}.")
            renamed = any(alias.asname is not None or alias.name == "*" for alias in node.names)
            if outside or renamed or node not in tree.body:
                raise ValueError(
                    f"worker: {name} line {node.lineno}: expected from {PACKAGE}.X import names, at the top, not renamed"
                )
            needed.add(str(node.module).removeprefix(f"{PACKAGE}."))
    return needed


def _reachable(needs: dict[str, set[str]], main: str) -> dict[str, set[str]]:
    """What `main` needs, directly or not, with what each of those needs."""
    found: dict[str, set[str]] = {}
    todo = [main]
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = needs[name]
            todo += sorted(needs[name])
    return found


def _defined(tree: ast.Module) -> list[str]:
    """Names that a module defines at its top level; imports define none, for all modules mean the same by them."""
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return names


def _without_own_imports(text: str, tree: ast.Module) -> str:
    """A module's text without its imports of the package's other modules."""
    lines = text.split("\n")
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{PACKAGE}."):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (int(node.end_lineno or node.lineno) - node.lineno + 1)
    return "\n".join(lines)
