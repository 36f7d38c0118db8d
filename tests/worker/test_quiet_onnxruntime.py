"""ONNX Runtime sends nothing and leaves no identifier where we load it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", minversion="1.29")

OURS = "from nas.worker.quiet_onnxruntime import import_onnxruntime; import_onnxruntime()"


@pytest.mark.parametrize(
    ("code", "given", "leaves"),
    [(OURS, {}, []), (OURS, {"ORT_DISABLE_TELEMETRY": "0"}, [".ses"]), ("import onnxruntime", {}, [".ses"])],
)
def test_telemetry_is_off_unless_the_user_has_said_otherwise(tmp_path: Path, code: str, given: dict[str, str], leaves: list[str]):
    (tmp_path / "temporary").mkdir()
    set_before = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = {**set_before, "TMPDIR": str(tmp_path / "temporary"), "XDG_CACHE_HOME": str(tmp_path / "cache"), **given}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert [path.name for path in (tmp_path / "temporary").iterdir()] == leaves
    assert (tmp_path / "cache").exists() == bool(leaves)
