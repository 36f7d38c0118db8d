"""Settings on top of a job that is made in Python."""

import re

import pytest

from nas.config.dotted_settings import with_settings
from nas.errors import ConfigError
from tests.small_jobs import search_job


def test_settings_replace_those_of_the_job_with_their_types():
    job = search_job("o", seed=3)
    words = ["space.communication=none", "search.tau_end=2e-1", "deploy.input=[96,128]", "latency.unit=ms", "search.holdout=0.25"]
    changed = with_settings(job, words)
    assert type(changed) is type(job)
    assert type(changed.space) is type(job.space)
    assert (changed.space.communication, changed.search.tau_end, changed.deploy.input) == ("none", 0.2, [96, 128])
    assert (changed.seed, changed.out, changed.data, changed.search.epochs) == (3, "o", job.data, job.search.epochs)
    assert (job.space.communication, job.deploy.input) == ("gcn", None)
    assert with_settings(job, []) == job


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("search.tau=3", "search.tau: there is no such key"),
        ("nothing.at=3", "nothing: there is no such key"),
        ("space.depth=3", "space.depth: there is no such key"),
        ("search.epochs=many", "search.epochs: got 'many': "),
        ("search.level=three", "search.level: got .*three"),
        ("search=3", "search: got '3': "),
        ("search.epochs=[1", r"search.epochs: got '\[1': "),
        ("search.tau_end=${seed", "search.tau_end"),
        ("search.tau_end=???", "search.tau_end: got .*, expected a value"),
    ],
)
def test_wrong_settings_are_one_line(word: str, message: str):
    with pytest.raises(ConfigError) as error:
        with_settings(search_job(), [word])
    assert re.search(message, str(error.value))
    assert "\n" not in str(error.value)
