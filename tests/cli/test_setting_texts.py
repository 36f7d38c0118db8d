"""Every setting has a text, which `nas VERB --help` prints."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from nas.cli.setting_texts import setting_texts, unit_of
from nas.cli.verbs import SUB_VERBS, VERBS
from nas.config import settings
from nas.data import DATASETS
from nas.data.image_folder import IMAGE_DATASETS
from nas.probing.bench.bench_job import PeerSettings
from nas.runs.trackers import TRACKERS
from search_spaces import SEARCH_SPACES

SECTIONS = [one for one in vars(settings).values() if dataclasses.is_dataclass(one) and one.__module__ == settings.__name__]
CONFIGS = {
    *(verb.job for verb in (*VERBS.values(), *(sub for subs in SUB_VERBS.values() for sub in subs.values()))),
    *(PeerSettings, *SECTIONS, *IMAGE_DATASETS.values()),
    *(entry.config for entry in (*SEARCH_SPACES.values(), *DATASETS.values(), *TRACKERS.values())),
}


@dataclass
class Base:
    """A config."""

    size: int = 1
    """Size in pixels."""
    other: int = 2


@dataclass
class Derived(Base):
    """Another one."""

    size: int = 3
    """The size
    of this one."""
    more: str = "x"
    """More."""


@pytest.mark.parametrize("config", sorted(CONFIGS, key=lambda config: config.__qualname__))
def test_every_setting_has_a_text(config):
    texts = setting_texts(config)
    assert [field.name for field in dataclasses.fields(config) if len(texts.get(field.name, "")) < 5] == []


def test_texts_are_those_of_the_nearest_class_in_one_line():
    assert setting_texts(Derived) == {"size": "The size of this one.", "more": "More."}


def test_a_class_without_source_has_no_texts():
    made = dataclasses.make_dataclass("Made", [("size", int, 1)])
    made.__module__ = "builtins"
    assert setting_texts(made) == {}


@pytest.mark.parametrize(
    ("name", "text", "unit"),
    [
        ("target_ms", "Largest predicted latency.", "ms"),
        ("crop", "[height, width] of the training crop in pixels.", "pixels"),
        ("warmup_epochs", "", "epochs"),
        ("seconds", "No further round is begun after this time.", "s"),
        ("lr", "Learning rate.", None),
    ],
)
def test_unit_is_what_name_or_text_states(name, text, unit):
    assert unit_of(name, text) == unit
