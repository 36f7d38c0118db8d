"""The house: folders of `nas/` import from rows below theirs alone, and what only one place may do is done there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
ROWS = (
    ("__main__",),
    ("cli",),
    ("__init__",),
    ("stages",),
    ("probing",),
    ("reports",),
    ("supernet",),
    ("measuring", "training", "search_spaces"),
    ("network",),
    ("losses", "metrics", "exporting", "runs", "cost"),
    ("distributed",),
    ("config", "data"),
    ("space", "devices"),
    ("ops", "files", "worker", "errors"),
)
"""From top to bottom."""
ROW = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
SEES_SPACES = {"nas/__init__.py", "nas/probing/bench/step_process.py", "nas/probing/algorithms/search_process.py"}
"""What looks into `search_spaces` beside the command line: the public functions and the entry points of child processes."""
WRITES = {
    "atomic": "the writer",
    "checkpoint": "torch.save into the writer's file, safetensors.torch.save into bytes",
    "picture_bytes": "pictures into bytes",
    "processing_times": "a picture into bytes",
    "operation_graphs": "torch.jit.save into bytes",
    "session": "files of the device at the other end",
    "step_process": "its standard output",
    "probe_process": "a file of the kernel",
    "decoupled": "no file: replaces weights z",
    # The worker runs alone.
    "whole_file": "its writer",
    "timing_journal": "appends a line",
    "job_notes": "appends a line",
    "graph_archive": "unpacks a graph for the runtime",
    "trtexec": "takes over the engine that trtexec has written",
    "child_process": "the output of a program",
    "lock": "a lock",
    "sole_writer": "a lock",
}
"""Modules that open or save something, and what it is; the writer of results comes first."""


NO_NAMES = re.compile(r"(test_)?(far(_\w+)?|kept|quiet|here|trained|transfer|protocol|whole_lines|resources|teller)")
"""Names of modules that do not say what is in them."""


def _files(package: str) -> list[Path]:
    return sorted((CHECKOUT / package).rglob("*.py"))


def _room(module: str) -> str:
    first, _, rest = module.partition(".")
    return "search_spaces" if first == "search_spaces" else rest.partition(".")[0] or "__init__"


def _module(path: Path) -> str:
    return ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {_module(path): path for package in ("nas", "search_spaces") for path in _files(package)}


def imported(path: Path, *, typing: bool = True) -> set[str]:
    """Our modules that a file imports, also inside of functions; with `typing` also those for the type checker alone."""
    found, tree = set(), ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and not typing and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body.clear()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.partition(".")[0] in ("nas", "search_spaces")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("nas", "search_spaces"):
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in full}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__"):
            names = [name.value for name in node.args[:1] if isinstance(name, ast.Constant)]
            found |= {name for name in names if str(name).partition(".")[0] in ("nas", "search_spaces")}
    return found


@pytest.mark.parametrize("name", MODULES)
def test_a_folder_imports_from_rows_below_it_alone(name):
    path, room = MODULES[name], _room(name)
    allowed = {other for other in ROW if ROW[other] > ROW[room]} | {room}
    if room == "cli" or str(path.relative_to(CHECKOUT)) in SEES_SPACES:
        allowed |= {"search_spaces"}
    assert {other for other in imported(path) if _room(other) not in allowed} == set()


def test_a_stage_imports_no_other_stage():
    stages = {name: path for name, path in MODULES.items() if name.startswith("nas.stages.")}
    assert {name: others for name, path in stages.items() if (others := imported(path) & set(stages))} == {}


def test_modules_import_in_no_circle():
    TopologicalSorter({name: imported(path, typing=False) for name, path in MODULES.items()}).prepare()


def test_every_room_has_its_row():
    assert {_room(name) for name in MODULES} == set(ROW)


def test_a_module_name_occurs_once():
    names = Counter(path.stem for path in _files("nas") if path.stem not in ("__init__", "__main__"))
    assert [name for name, count in names.items() if count > 1] == []


def test_a_module_name_explains_itself():
    names = [path.stem for package in ("nas", "search_spaces", "tests") for path in _files(package)]
    assert [name for name in names if NO_NAMES.fullmatch(name)] == []


def _opens_to_write(call: ast.Call) -> bool:
    """Whether a call opens, saves or renames a file, as far as its name and its constants tell."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    constants = [
        argument.value for argument in [*call.args, *(k.value for k in call.keywords)] if isinstance(argument, ast.Constant)
    ]
    if name in ("open", "fdopen"):
        flags = {node.attr for argument in call.args for node in ast.walk(argument) if isinstance(node, ast.Attribute)}
        writes = any(isinstance(mode, str) and re.fullmatch(r"[rwaxbt+]*[wax+][rwaxbt+]*", mode) for mode in constants)
        return (writes or bool(flags & {"O_WRONLY", "O_RDWR", "O_CREAT"})) and "devnull" not in flags
    if name in ("replace", "rename", "move"):  # of a path: that of a text takes two arguments, that of a dataclass keywords
        of_path = isinstance(call.func, ast.Attribute) and len(call.args) == 1 and not call.keywords
        return of_path or ast.unparse(call.func).startswith(("os.", "shutil."))
    if name == "save":  # of a library: ours are methods of our own
        return ast.unparse(call.func).startswith(("torch.", "np.", "safetensors.", "onnx.", "Image."))
    return name in "open_own write_text write_bytes savefig imwrite savetxt savez save_file tofile copyfile copy2 touch".split()


def test_only_one_module_writes_results():
    found = {
        path.stem
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _opens_to_write(node)
    }
    assert found == set(WRITES)


def test_no_text_names_a_document_that_users_do_not_have():
    folders = [CHECKOUT / name for name in ("nas", "search_spaces", "conf", "docs", "experiments", "tests")]
    texts = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md", ".yaml")]
    texts += [CHECKOUT / "README.md", CHECKOUT / "CHANGELOG.md"]
    named = re.compile(r"\bSPEC('s)?[ ,]+(Q?\d|sections? \d)")
    assert [str(path.relative_to(CHECKOUT)) for path in texts if named.search(path.read_text(encoding="utf-8"))] == []
