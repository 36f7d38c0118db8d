"""What the command loads before it has anything to do: no PyTorch, and no package that only a run needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.small_jobs import CHECKOUT

HEAVY = ("torch", "torch_geometric", "lightning_fabric", "matplotlib", "onnx", "onnxruntime", "networkx", "scipy")
LIGHT = (
    (),
    ("--help",),
    ("search", "--help"),
    ("train", "data=folder", "logger=wandb", "--help"),
    ("search", "space=fasterseg", "--cfg", "job"),
    ("show", "list=spaces"),
    ("show", "list=genotypes"),
    ("show", "list=tables"),
)
CODE = """
import sys
from nas.cli import main
status = main(sys.argv[2:])
print(status, *(name for name in sys.argv[1].split(",") if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_help_and_lists_load_no_heavy_package(words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE, ",".join(HEAVY), *words],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(CHECKOUT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.split() == ["0"]
