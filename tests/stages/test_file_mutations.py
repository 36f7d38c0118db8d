"""Files of every kind, changed by chance, through the commands that read them: one line, no traceback, no half load."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.mutated_files import summary, try_files

SEED = 18
FEW, MANY = 5, 5_000


def test_a_few_changed_files_are_taken_or_refused_in_a_line(tmp_path: Path):
    assert not [trial for trial in try_files(tmp_path, range(FEW), SEED, quick=True) if trial.faults]


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_five_thousand_changed_files_are_taken_or_refused_in_a_line(tmp_path: Path):
    trials = list(try_files(tmp_path, range(MANY), SEED + 1))
    sys.stdout.write("\n".join(summary(trials)))
    assert not [trial for trial in trials if trial.faults]
