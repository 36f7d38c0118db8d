"""The experiment on targets at two steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.slow
def test_the_smoke_form_searches_measures_and_reports_and_is_not_done_twice(
    tmp_path: Path, script_of: Callable[[str], tuple[ModuleType, list[list[str]]]]
) -> None:
    targets, commands = script_of("targets")
    arguments = ["--form", "smoke", "--out", str(tmp_path / "out"), "--seeds", "0", "--shares", "0.95"]
    arguments += ["--runtimes", "torch-eager,onnxruntime"]
    targets.main(arguments)
    assert [command[0] for command in commands] == ["profile"] * 4 + ["search"]
    document = json.loads((tmp_path / "out" / "targets.json").read_text())
    assert [row["runtime"] for row in document["rows"]] == ["torch-eager", "onnxruntime"]
    for row in document["rows"]:
        assert row["target_ms"] == pytest.approx(0.95 * document["uniform_ms"][row["runtime"]])
        assert 0 < row["predicted_ms"] <= row["target_ms"]
        assert row["measured_ms"] > 0
    text = (tmp_path / "out" / "targets.md").read_text()
    assert "Predicted at or below the target: 2 of 2" in text
    targets.main(arguments)
    assert len(commands) == 5
