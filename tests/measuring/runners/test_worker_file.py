"""The worker as one file: how modules are joined, and that it runs alone, anywhere."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from nas.measuring.runners.worker_file import join_modules, worker_source

HEAD = '"""The whole."""\n'


def joined(**texts: str) -> str:
    return join_modules({"__init__": HEAD, **texts}, main="main")


def runs(source: str) -> dict[str, object]:
    names: dict[str, object] = {"__name__": "joined"}
    exec(compile(source, "joined", "exec"), names)  # what is executed stands in this file
    return names


def test_modules_stand_in_the_order_of_their_needs_and_run_as_one() -> None:
    source = joined(
        main="import os\nfrom nas.worker.b import (\n    two,\n    three,\n)\n\nRESULT = two() + three()\n",
        b="import os\nfrom nas.worker.a import one\n\ndef two():\n    return 2 * one()\n\ndef three():\n    return 3\n",
        a="def one():\n    return 1\n",
        unused="RESULT = 7\n",
    )
    assert source.startswith(HEAD)
    assert "nas" not in source
    assert "7" not in source
    assert runs(source)["RESULT"] == 5
    assert source == joined(
        unused="RESULT = 7\n",
        a="def one():\n    return 1\n",
        main="import os\nfrom nas.worker.b import (\n    two,\n    three,\n)\n\nRESULT = two() + three()\n",
        b="import os\nfrom nas.worker.a import one\n\ndef two():\n    return 2 * one()\n\ndef three():\n    return 3\n",
    )


@pytest.mark.parametrize(
    "line",
    [
        "import nas.worker.a",
        "import nas.worker.a as a",
        "import os, nas.worker.a",
        "from nas.worker import a",
        "from nas import worker",
        "from nas.ops import OPERATIONS",
        "from nas.worker.a import one as other",
        "from nas.worker.a import *",
        "from .a import one",
        "from . import a",
        "def f():\n    from nas.worker.a import one\n    return one",
        "if True:\n    from nas.worker.a import one",
        "class C:\n    from nas.worker.a import one",
    ],
)
def test_an_import_that_cannot_be_joined_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"^worker: main line \d+"):
        joined(main=f"{line}\n", a="one = 1\n")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("x = 1", "x = 1"),
        ("def x(): ...", "class x: ..."),
        ("_x = 1", "_x: int = 2"),
        ("x, y = 1, 2", "y = 3"),
        ("[x, *y] = 1, 2", "def y(): ..."),
        ("if True:\n    x = 1", "x = 2"),
        ("try:\n    x = 1\nexcept OSError:\n    x = 2", "x = 3"),
        ("for x in ():\n    pass", "x = 2"),
        ("with open('f') as x:\n    pass", "x = 2"),
        ("import time", "def time(): ..."),
        ("time = 1", "from time import time"),
        ("from time import time", "import time"),
        ("import json as x", "import os as x"),
        ("async def x(): ...", "x = 1"),
    ],
)
def test_one_name_for_two_things_is_refused(first: str, second: str) -> None:
    with pytest.raises(ValueError, match=r"^worker: \w+ is defined in a and in main, expected different names$"):
        joined(main=f"from nas.worker.a import _\n{second}\n", a=f"{first}\n")


def test_the_same_import_and_names_of_inner_scopes_are_no_clash() -> None:
    inner = "def {0}():\n    x = 1\n    return [y for y in (x,)]\n\nclass {1}:\n    x = 1\n"
    shared = "import os\nimport os.path\nfrom typing import Any, List\n"
    source = joined(main=f"{shared}from nas.worker.a import f\n" + inner.format("g", "D"), a=shared + inner.format("f", "C"))
    assert {"f", "g", "C", "D"} <= runs(source).keys()


def test_the_worker_is_one_module_of_the_standard_library_alone() -> None:
    tree = ast.parse(worker_source())
    assert ast.get_docstring(tree)
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(not isinstance(node, ast.ImportFrom) or not node.level for node in imported)
    at_top = {name.partition(".")[0] for node in imported if node in tree.body for name in module_names(node)}
    assert at_top <= sys.stdlib_module_names
    anywhere = {name.partition(".")[0] for node in imported for name in module_names(node)} - sys.stdlib_module_names
    assert anywhere <= {"onnxruntime", "numpy", "torch", "tensorrt"}


def module_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]


def test_no_name_of_the_worker_is_bound_twice_or_hides_a_builtin() -> None:
    names = Counter(node.name for node in ast.parse(worker_source()).body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    names.update(
        target.id
        for node in ast.parse(worker_source()).body
        for target in ast.walk(node)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)
    )
    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []
    assert set(names).isdisjoint(dir(builtins))


@pytest.mark.skipif(importlib.util.find_spec("vermin") is None, reason="vermin is not installed")
def test_the_worker_needs_no_newer_python_than_3_6(tmp_path: Path) -> None:
    path = tmp_path / "worker.py"
    path.write_text(worker_source())
    command = [sys.executable, "-c", "from vermin import main; main()", "--target=3.6-", "--no-tips", "--violations", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stdout
    assert "Minimum required versions: 3.6" in found.stdout
    path.write_text(worker_source() + "\nprint(x := 1)\n")
    assert subprocess.run(command, capture_output=True, timeout=120, check=False).returncode != 0


def test_the_text_is_the_same_in_every_process() -> None:
    code = "import sys; from nas.measuring.runners.worker_file import worker_source; sys.stdout.write(worker_source())"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONHASHSEED": seed}
        found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=120)
        assert found.stdout.decode() == worker_source()


@pytest.mark.parametrize("arguments", [[], ["--stream", "0"], ["--identify", "{}"], ["--what"]])
def test_alone_in_an_empty_folder_it_says_in_one_line_what_is_missing(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "worker.py").write_text(worker_source())
    command = [sys.executable, "-I", "worker.py", *arguments]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (found.returncode, found.stderr) == (2, "")
    assert len(found.stdout.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["worker.py"]
