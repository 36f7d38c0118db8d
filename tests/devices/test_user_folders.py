"""Folders of a user, also of one whom the machine does not know."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from nas.devices.user_folders import user_folder


def nobody(*_: object) -> None:
    raise KeyError("no such user")


def test_a_folder_is_the_one_that_is_named_or_lies_at_home_or_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert user_folder("XDG_DATA_HOME", ".local", "share") == tmp_path / ".local" / "share"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert user_folder("XDG_DATA_HOME", ".local", "share") is None
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert user_folder("XDG_DATA_HOME", ".local", "share") == Path("/data")
