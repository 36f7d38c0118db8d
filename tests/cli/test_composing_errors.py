"""Errors of composing as one line."""

from __future__ import annotations

from hydra.errors import ConfigCompositionException
from omegaconf.errors import ValidationError

from nas.cli.composing_errors import explain


def test_an_error_that_is_its_own_context_is_explained_once() -> None:
    first, second = ConfigCompositionException("Error merging override"), ValidationError("no number")
    first.__context__, second.__context__ = second, first
    assert explain(first) is None or "no number" in str(explain(first))
    lone = ValueError("a bug")
    lone.__context__ = lone
    assert explain(lone) is None
