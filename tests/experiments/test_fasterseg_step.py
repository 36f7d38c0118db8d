"""The benchmark of FasterSeg's step in its smallest form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_smoke_form_times_all_three_and_finds_equal_losses(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "experiments/fasterseg_step/run.py",
        "--form",
        "smoke",
        "--repeats",
        "2",
        "--out",
        str(tmp_path / "x.json"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    stored = json.loads((tmp_path / "x.json").read_text())
    assert stored["form"] == "smoke"
    assert list(stored["results"]) == ["plain", "ours", "yardstick"]
    for name, row in stored["results"].items():
        assert len(row["seconds"]) == 2
        assert min(row["seconds"]) > 0
        assert 0.1 < row["peak_gb"] < 4
        assert f"| {name} | " in done.stdout
    plain, ours = stored["losses"]["plain"], stored["losses"]["ours"]
    assert ours == pytest.approx(plain, rel=1e-5)
    assert ours[0] != ours[1]
    medians = {name: sum(row["seconds"]) / 2 for name, row in stored["results"].items()}
    assert f"ours / plain: {medians['ours'] / medians['plain']:.3f}" in done.stdout
    official = medians["yardstick"] / 0.91 * 21.1
    assert f"ours / official by the yardstick: {medians['ours'] / official:.3f}" in done.stdout
