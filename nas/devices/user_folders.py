"""Folders of the user who runs this; a user without an entry on the machine, as in a container, may have none."""

from __future__ import annotations

import os
from pathlib import Path


def user_folder(variable: str, *below_home: str) -> Path | None:
    """The folder that a variable names, or else one in the home folder; None where neither is known.

    Args:
        variable: A variable of the environment, e.g. `XDG_DATA_HOME`.
        below_home: The folder's place in the home folder.
    """
    if named := os.environ.get(variable):
        return Path(named)
    try:
        return Path.home().joinpath(*below_home)
    except RuntimeError:  # HOME is unset, and the list of users has nobody of this number
        return None
