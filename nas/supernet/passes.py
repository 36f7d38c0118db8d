"""The passes of a search step: which architecture set runs, and what it holds in place of what it would draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nas.config.settings import SearchSettings
from nas.errors import ConfigError
from nas.files.value_text import value_text
from nas.space.search_space import SearchSpace


class Pass(NamedTuple):
    """One forward pass of a step.

    Args:
        architecture: The architecture set.
        mode: What the pass holds, one of `SearchSpace.modes`; None: nothing, so that its latency counts.
    """

    architecture: str
    mode: str | None = None


def passes_of(settings: SearchSettings, space: SearchSpace) -> tuple[tuple[Pass, ...], tuple[Pass, ...]]:
    """The passes of a step of the warm-up and of any other; their losses are added up.

    Raises:
        ConfigError: If a pass names a set or a mode that the space does not have, or latency would count more than once.
    """
    usual = _read("search.passes", settings.passes, space, default=space.passes or space.architecture_sets[:1])
    first = space.warmup_passes if settings.passes is None else ()
    warmup = _read("search.warmup_passes", settings.warmup_passes, space, default=first or [_stated(one) for one in usual])
    timed = Pass(space.architecture_sets[0])
    if usual.count(timed) != 1:
        raise ConfigError(
            f"search.passes: got {value_text([_stated(one) for one in usual])}, expected {timed.architecture} without a mode once, "
            "for its latency is what the objective has"
        )
    return warmup, usual


def _read(key: str, given: list[str] | None, space: SearchSpace, *, default: Sequence[str]) -> tuple[Pass, ...]:
    if given == []:
        raise ConfigError(f"{key}: got no passes, expected one or more; leave {key} away for the space's own")
    passes = []
    for stated in default if given is None else given:
        architecture, colon, mode = stated.partition(":")
        if architecture not in space.architecture_sets or (colon and mode not in space.modes):
            sets, modes = ", ".join(space.architecture_sets), ", ".join(space.modes)
            raise ConfigError(
                f"{key}: got {stated!r}, expected one of {sets}"
                + (f", each alone or as SET:MODE with a MODE of {modes}" if modes else "")
            )
        passes.append(Pass(architecture, mode or None))
    return tuple(passes)


def _stated(one: Pass) -> str:
    return one.architecture if one.mode is None else f"{one.architecture}:{one.mode}"
