"""Tests of `nas.files.command_words`."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from nas.files.command_words import override, setting

ODD = (
    "runs/a",
    "/a b/c=d",
    "a,b",
    "x(1)",
    "[a]",
    "{a:b}",
    "it's",
    'say "a"',
    "back\\",
    'back\\"quote',
    "$HOME/a",
    "${oc.env:HOME}",
    "\\${a}",
    "a\\\\${b}",
    "größe",
    "-a",
    "~/data",
    "~",
    " a ",
    "a:b",
    "a;b",
    "a#b",
    "a*b?",
    "a!b",
    "a\nb",
    "",
    "1080",
    "1e3",
    ".5",
    ".",
    "..",
    "./a",
    "true",
    "Null",
    "inf",
    "C:\\data\\x",
    "%s@host",
    "<a>|&b`c`",
)


def read(word: str) -> object:
    """The value that a setting gets of a word, by way of Hydra and OmegaConf."""
    parsed = OverridesParser.create().parse_overrides([word])[0]
    found: object = OmegaConf.create({"value": parsed.value()})["value"]
    return OmegaConf.to_container(found) if OmegaConf.is_config(found) else found


@pytest.mark.parametrize("value", ODD)
def test_odd_values_come_through_shell_and_hydra(value: str) -> None:
    assert [read(word) for word in shlex.split(setting("data.root", value))] == [value]


@pytest.mark.parametrize("value", [text for text in ODD if "\n" not in text])
def test_a_real_shell_passes_the_word_on(value: str) -> None:
    echo = subprocess.run(["sh", "-c", f"printf %s {setting('out', value)}"], capture_output=True, text=True, check=True)
    assert echo.stdout == override("out", value)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\0"), max_size=12))
@settings(max_examples=40, deadline=None)
def test_any_text_comes_through(value: str) -> None:
    if value == "???":  # what OmegaConf calls missing
        return
    assert read(override("out", value)) == value


@given(st.text("\\\"'$={}a", max_size=8))
@settings(max_examples=40, deadline=None)
def test_texts_of_quotes_and_backslashes_come_through(value: str) -> None:
    assert read(override("out", value)) == value


@pytest.mark.parametrize("value", [None, True, False, 3, -2.5, 1e-9, [96, 128], ["a b", "c,d"], [], {"a": [1, "x y"]}, [None, 4.0]])
def test_other_values_keep_their_kind(value: object) -> None:
    found = read(override("out", value))
    assert found == value
    assert type(found) is type(value)


def test_plain_words_stay_readable() -> None:
    assert setting("genotype", Path("runs/search-1/genotype.yaml")) == "genotype=runs/search-1/genotype.yaml"
    assert setting("deploy.input", (96, 128)) == "'deploy.input=[96,128]'"
