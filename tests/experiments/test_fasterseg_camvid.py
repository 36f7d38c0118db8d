"""FasterSeg's co-search and distillation at two steps each."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import nas.cli
from nas.tracking import read_metrics

PATH = Path(__file__).parents[2] / "experiments" / "fasterseg_camvid" / "run.py"


def test_the_smoke_form_searches_trains_all_three_and_reports_and_is_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("fasterseg_camvid_run", PATH)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fasterseg_camvid_run", script)
    spec.loader.exec_module(script)
    commands = []

    def run(command: Sequence[str]) -> None:
        commands.append(list(command))
        assert nas.cli.main(list(command)) == 0

    monkeypatch.setattr(script, "run", run)
    arguments = ["--form", "smoke", "--out", str(tmp_path / "out"), "--seeds", "3"]
    script.main(arguments)
    assert [command[0] for command in commands] == ["profile", "search", *["train", "eval"] * 3]
    rows = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [row["network"] for row in rows] == ["teacher", "student", "distilled"]
    assert rows[0]["predicted_ms"] > rows[1]["predicted_ms"] == rows[2]["predicted_ms"] > 0
    folder = tmp_path / "out" / "seed_3"
    learns = {
        name: any("distillation" in row for row in read_metrics(folder / name / "metrics.jsonl")) for name in script.TRAININGS
    }
    assert learns == {"teacher": False, "student": False, "distilled": True}
    gain = rows[2]["test_miou"] - rows[1]["test_miou"]
    assert f"by seed: {gain:+.3f}." in (tmp_path / "out" / "report.md").read_text()
    script.main(arguments)
    assert len(commands) == 8
