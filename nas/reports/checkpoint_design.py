"""The architecture of a search that is not finished, from its last checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nas.runs.checkpoint import load_checkpoint, steps_done
from nas.runs.state_checks import check_verb, checked_as
from nas.space.design import Design
from nas.space.space_entry import SpaceEntry
from nas.supernet.derivation import check_search_state, genotype_of, space_of


def design_of_checkpoint(path: Path, spaces: Mapping[str, SpaceEntry]) -> Design:
    """The argmax of a search as it stood.

    Args:
        path: Its checkpoint.
        spaces: The search spaces by name.

    Raises:
        UserError: If it is no checkpoint of a search.
    """
    state = load_checkpoint(path)
    with checked_as(path):
        check_verb(state, "search")
        steps_done(state, path)
        space = space_of(state, spaces)
        check_search_state(state, space)
        return Design(genotype_of(state, space)[0], space)
