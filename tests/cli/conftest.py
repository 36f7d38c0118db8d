"""A stage that records what it is given."""

from __future__ import annotations

import pytest

from nas.cli import verbs
from nas.config.jobs import SearchJob


class Recorder:
    """Stands in for a stage: keeps the jobs that it is given, and does what it is told for each."""

    def __init__(self, *reactions):
        self.jobs = []
        self.reactions = list(reactions)

    def __call__(self, job):
        self.jobs.append(job)
        reaction = self.reactions.pop(0) if self.reactions else None
        if reaction is not None:
            raise reaction
        return ["wrote nothing", f"seed {job.seed}"]


@pytest.fixture
def stage(monkeypatch):
    """Puts a recorder in the place of the stage of `nas search`."""

    def put(*reactions):
        recorder = Recorder(*reactions)
        monkeypatch.setitem(verbs.VERBS, "search", verbs.Verb("search", SearchJob, recorder))
        return recorder

    return put
