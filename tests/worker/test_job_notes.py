"""What the worker notes beside timings; stopped and damaged runs are in tests/measuring/runners/test_remote_journals.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.worker.interface import WorkerError
from nas.worker.job_notes import NOTES_FILE, JobNotes
from nas.worker.readings import Reading

CALM = Reading({}, {}, None, [], {"sys/class/hwmon/hwmon3/oc3_event_cnt": 100})
UNDER = {"version": "1.0"}


def later(events: int, *states: str) -> Reading:
    return CALM._replace(throttling=list(states), counters={path: 100 + events for path in CALM.counters})


def test_alarms_add_up_over_the_looks_and_the_runs_of_a_job_to_one_line(tmp_path: Path) -> None:
    notes = JobNotes(str(tmp_path), "job", under=UNDER, operations=9)
    notes.note_slowdowns(CALM, later(5))
    notes.note_slowdowns(later(5), later(7, "hot"))
    again = JobNotes(str(tmp_path), "job", under=UNDER, operations=9)
    again.note_slowdowns(later(40, "hot"), later(42, "hot"))
    assert again.throttled == ["hot", "over-current or low voltage: throttled (oc3_event_cnt rose by 9)"]
    assert JobNotes(str(tmp_path), "job", under=UNDER, operations=9).throttled == again.throttled
    assert JobNotes(str(tmp_path), "other", under=UNDER, operations=9).throttled == []


def test_looks_that_show_nothing_new_are_no_notes(tmp_path: Path) -> None:
    notes = JobNotes(str(tmp_path), "job", under=UNDER, operations=9)
    notes.note_slowdowns(CALM, later(0, "hot"))
    size = (tmp_path / NOTES_FILE).stat().st_size
    for _ in range(3):
        notes.note_slowdowns(later(0, "hot"), later(0, "hot"))
    assert (tmp_path / NOTES_FILE).stat().st_size == size


@pytest.mark.parametrize(
    "line",
    ["[]", "1", "nonsense", '{"op": 9, "mj": 1.0, "idle_w": 1.0}', '{"op": true, "mj": 1.0, "idle_w": 1.0}', '{"op": 1, "mj": NaN}']
    + ['{"before": 3}', '{"before": {"clocks": 1, "temperatures": null}}', '{"throttled": "x", "rises": {}}']
    + ['{"throttled": [], "rises": {"a": 1.5}}', '{"without_graph": -1}', '{"other": 1}', "[" * 100_000],
    ids=lambda line: line[:40],
)
def test_a_note_that_no_worker_wrote_is_refused_in_one_line(line: str, tmp_path: Path) -> None:
    JobNotes(str(tmp_path), "job", under=UNDER, operations=9)
    path = tmp_path / "notes.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(WorkerError, match=r"notes\.jsonl: cannot be read \(.*\); delete it$") as caught:
        JobNotes(str(tmp_path), "job", under=UNDER, operations=9)
    assert len(str(caught.value)) < 600
