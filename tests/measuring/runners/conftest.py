"""Servers that tests of runners log in to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from nas.measuring.runners.ssh.remote_place import SshPlace
from tests.conftest import Outcome
from tests.measuring.runners.remote_device import RemoteDevice, make_board
from tests.measuring.runners.sshd import Sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory) -> Iterator[Sshd]:
    """A server that the tests of a file share."""
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def make_sshd(tmp_path) -> Iterator[Callable[..., Sshd]]:
    """Starts servers of a test's own."""
    servers: list[Sshd] = []

    def make(**options: Any) -> Sshd:
        folder = tmp_path / f"sshd{len(servers)}"
        folder.mkdir()
        servers.append(Sshd(folder, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def place(sshd) -> Iterator[SshPlace]:
    """A folder of the test's own on the shared server, empty at first."""
    with sshd.place(uuid4().hex) as place:
        yield place


@pytest.fixture
def own_home(tmp_path, monkeypatch) -> Path:
    """A home folder without an SSH configuration, and no agent."""
    home = tmp_path / "client_home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture
def board(sshd, tmp_path, run_nas: Callable[..., Outcome], monkeypatch, own_home) -> Iterator[RemoteDevice]:
    """A device on the shared server that measures with an imitation of ONNX Runtime."""
    del own_home
    yield from make_board(sshd, tmp_path, run_nas, monkeypatch)


@pytest.fixture
def own_board(make_sshd, tmp_path, run_nas: Callable[..., Outcome], monkeypatch, own_home) -> Iterator[RemoteDevice]:
    """The same on a server of the test's own."""
    del own_home
    yield from make_board(make_sshd(), tmp_path, run_nas, monkeypatch)
