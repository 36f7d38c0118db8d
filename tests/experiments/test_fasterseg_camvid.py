"""FasterSeg's co-search and distillation at two steps each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from nas.runs.tracking import read_metrics


@pytest.mark.slow
def test_the_smoke_form_searches_trains_all_three_and_reports_and_is_not_done_twice(
    tmp_path: Path, script_of: Callable[[str], tuple[ModuleType, list[list[str]]]]
) -> None:
    script, commands = script_of("fasterseg_camvid")
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
