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
GOLDEN = CHECKOUT / "tests" / "golden" / "before"
PREDICTIONS = (
    ("genotype=fasterseg/student", "latency.table=macs", "out=predicted"),
    (f"genotype={GOLDEN / 'genotypes' / 'squeezenas_xlarge.yaml'}", "latency.table=macs", "deploy.input=[64,96]"),
    (f"genotype={GOLDEN / 'genotypes' / 'lgcnet.yaml'}", f"latency.table={GOLDEN / 'table.json'}"),
    ("genotype=none/such", "latency.table=macs"),
    ("--help",),
)
"""What `nas predict` is given: analytic costs, a calibrated latency table, something wrong."""
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


@pytest.mark.parametrize("words", PREDICTIONS, ids=" ".join)
def test_predict_loads_nothing_that_computes(words, tmp_path):
    """Scripts predict thousands of genotypes, a process each: what they wait for is what is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, ",".join((*HEAVY, "numpy", "cv2", "PIL")), "predict", *words],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(CHECKOUT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == ("2" if "genotype=none/such" in words else "0")
