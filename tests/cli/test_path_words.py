"""Tests of `nas.cli.path_words`: a path means what is typed, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nas.cli.path_words import quoted_path, quoted_paths
from nas.config.jobs import TrainJob
from nas.data import DATASETS
from tests.files.test_command_words import read

ODD = (
    "~/data",
    "~",
    "~user/x",
    "/a b/c=d",
    "/a/x(1)",
    "x{a",
    "größe/日本",
    "it's",
    "a#b&c;d!e",
    "/a:b",
    "-a",
    "=a",
    "$a",
    "a]",
    "1080",
    "1e3",
    "1_000",
    "true",
    "nan",
    'say "a"',
    "f(1)",
    "~/a,b",
    "back\\(slash",
    "a\nb",
)


@pytest.mark.parametrize("text", [text for text in ODD if "\\" not in text])
def test_a_path_is_read_as_it_is_typed(text: str) -> None:
    assert read(quoted_path(f"data.root={text}", {"data.root"}, sweep=False)) == text
    assert read(quoted_path(f"+out={text}", {"out"}, sweep=False)) == text


@pytest.mark.parametrize(
    "word",
    [
        *("out=runs/a", 'out="a b"', "out='~/a'", 'out="a', "out=null", "out=", "out=${oc.env:HOME}/a", "~out"),
        *("out=a\\,b", "out=a,b", "out=[a,b]", "out={a:b}", "out=choice(a,b)"),
    ],
)
def test_what_hydra_reads_as_it_is_meant_stays(word: str) -> None:
    assert quoted_path(word, {"out"}, sweep=False) == word


def test_other_settings_stay() -> None:
    assert quoted_path("seed=~1", {"out"}, sweep=True) == "seed=~1"


@pytest.mark.parametrize("text", ["a,b", "[a]", "{a:b}", "x=1,y=2", "choice(a,b)"])
def test_a_file_of_exactly_this_name_is_meant(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / text).mkdir()
    assert read(quoted_path(f"out={text}", {"out"}, sweep=True)) == text


def values(word: str) -> list[str]:
    parsed = OverridesParser.create().parse_override(word)
    assert parsed.is_sweep_override()
    return [str(one).strip("'\"") for one in parsed.sweep_string_iterator()]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("~/a,~/b", ["~/a", "~/b"]),
        ("/x=1, ü ,plain", ["/x=1", "ü", "plain"]),
        ('"~/a b",~/c', ["~/a b", "~/c"]),
        ("choice(~/a,~/b)", ["~/a", "~/b"]),
    ],
)
def test_sweeps_over_paths_stay_sweeps(text: str, paths: list[str]) -> None:
    assert values(quoted_path(f"genotype={text}", {"genotype"}, sweep=True)) == paths


def test_lists_of_paths_stay_lists() -> None:
    assert read(quoted_path("latency.table=[~/a b.json,macs, 'x,y']", {"latency.table"}, sweep=False)) == [
        *("~/a b.json", "macs", "x,y"),
    ]


def test_the_paths_of_a_verb_are_those_of_its_sections_and_of_all_its_data_sets() -> None:
    groups = {"data": {name: entry.config for name, entry in DATASETS.items()}}
    words = ["data.root=~/a", "data.classes=~/b", "distill.teacher=~/c", "weights=~/d", "seed=~/e"]
    found = quoted_paths(words, TrainJob, groups, sweep=False)
    assert found == [*(f'{word.replace("=", chr(61) + chr(34))}"' for word in words[:4]), "seed=~/e"]
    both = ["weights=~/a,~/b", "hydra.mode=MULTIRUN"]
    assert values(quoted_paths(both, TrainJob, groups, sweep=False)[0]) == ["~/a", "~/b"]
