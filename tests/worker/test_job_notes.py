"""What the worker notes beside timings; stopped and damaged runs are in tests/measuring/runners/test_remote_journals.py."""

from __future__ import annotations

from pathlib import Path

from nas.worker.job_notes import NOTES_FILE, JobNotes
from nas.worker.readings import Reading

CALM = Reading({}, {}, None, [], {"sys/class/hwmon/hwmon3/oc3_event_cnt": 100})
UNDER = {"version": "1.0"}


def later(events: int, *states: str) -> Reading:
    return CALM._replace(throttling=list(states), counters={path: 100 + events for path in CALM.counters})


def test_alarms_add_up_over_the_looks_and_the_runs_of_a_job_to_one_line(tmp_path: Path) -> None:
    notes = JobNotes(str(tmp_path), "job", under=UNDER)
    notes.note_slowdowns(CALM, later(5))
    notes.note_slowdowns(later(5), later(7, "hot"))
    again = JobNotes(str(tmp_path), "job", under=UNDER)
    again.note_slowdowns(later(40, "hot"), later(42, "hot"))
    assert again.throttled == ["hot", "over-current or low voltage: throttled (oc3_event_cnt rose by 9)"]
    assert JobNotes(str(tmp_path), "job", under=UNDER).throttled == again.throttled
    assert JobNotes(str(tmp_path), "other", under=UNDER).throttled == []


def test_looks_that_show_nothing_new_are_no_notes(tmp_path: Path) -> None:
    notes = JobNotes(str(tmp_path), "job", under=UNDER)
    notes.note_slowdowns(CALM, later(0, "hot"))
    size = (tmp_path / NOTES_FILE).stat().st_size
    for _ in range(3):
        notes.note_slowdowns(later(0, "hot"), later(0, "hot"))
    assert (tmp_path / NOTES_FILE).stat().st_size == size
