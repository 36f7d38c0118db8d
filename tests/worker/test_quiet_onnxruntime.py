"""ONNX Runtime sends nothing and leaves no identifier where we load it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", minversion="1.29")

OURS = "from nas.worker.quiet_onnxruntime import import_onnxruntime as load"
"""Loads the package as we do."""
PLAIN = "def load():\n    import onnxruntime"
"""Loads it as anybody does."""
SEEN_AT_ITS_IMPORT = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
load()
"""


def run(code: str, folder: Path, **given: str) -> str:
    """What a process prints whose temporary files and caches lie in `folder`."""
    (folder / "temporary").mkdir(exist_ok=True)
    set_before = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = {**set_before, "TMPDIR": str(folder / "temporary"), "XDG_CACHE_HOME": str(folder / "cache"), **given}
    return subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("load", "given", "seen"), [(OURS, {}, "1"), (OURS, {"ORT_DISABLE_TELEMETRY": "0"}, "0"), (PLAIN, {}, "None")]
)
def test_the_package_is_told_before_it_starts_unless_the_user_has_said_otherwise(
    tmp_path: Path, load: str, given: dict[str, str], seen: str
):
    assert run(load + SEEN_AT_ITS_IMPORT, tmp_path, **given).split() == [seen]


def test_no_identifier_is_left(tmp_path: Path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "ours").mkdir()
    run(f"{OURS}\nload()", tmp_path / "ours")
    assert not any((tmp_path / "ours" / "temporary").iterdir())
    assert not (tmp_path / "ours" / "cache").exists()
    run(f"{PLAIN}\nload()", tmp_path / "plain")
    if not (tmp_path / "plain" / "cache").exists():
        pytest.skip("here the package leaves no identifier even if nobody tells it not to")
