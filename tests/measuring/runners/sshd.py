"""A real OpenSSH server on the loopback address, with keys, configuration and home folder of its own."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nas.measuring.runners.ssh.remote_place import SshPlace, SshTarget

USER = pwd.getpwuid(os.getuid()).pw_name
START_S = 20.0


def wait_for(condition: Callable[[], Any], *, seconds: float = 20.0) -> None:
    """Wait until a condition holds; a test that waits in vain fails."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


class Sshd:
    """A running server; it serves the user of the tests alone, with one public key.

    Args:
        folder: An empty folder for everything that it needs.
        config: Lines for its configuration.
        sftp: The command of its SFTP subsystem; None: it has none.
    """

    def __init__(self, folder: Path, *, config: Sequence[str] = (), sftp: str | None = "internal-sftp") -> None:
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if program is None or shutil.which("ssh-keygen") is None:
            pytest.skip("no OpenSSH server here: apt-get install openssh-server")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # an sshd of root wants it
        self.folder, self._program, self._config, self._sftp = folder, program, tuple(config), sftp
        self.home = folder / "home"
        self.home.mkdir()
        self.key, self._host_key = make_key(folder / "user_key"), make_key(folder / "host_key")
        (folder / "keys").mkdir()
        shutil.copy(f"{self.key}.pub", folder / "keys" / USER)
        self.known_hosts = folder / "known_hosts"
        self.port = 0
        for _ in range(5):  # another process may take the port in between
            if self.start():
                break
        else:
            raise AssertionError(f"sshd did not start: {self._log.read_text()}")

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    @property
    def host_key(self) -> str:
        """Type and key, as a known-hosts file has them."""
        return " ".join(Path(f"{self._host_key}.pub").read_text().split()[:2])

    def trust(self, key: str) -> None:
        """Let `key` be the only one in the known hosts."""
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {key}\n")

    def start(self, *, port: int | None = None) -> bool:
        """Start it on a port, a free one if None; whether it listens there."""
        if port is None:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
        self.port = port
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        lines = [
            *(f"ListenAddress 127.0.0.1:{port}", f"HostKey {self._host_key}", f"AuthorizedKeysFile {self.folder}/keys/%u"),
            *("PidFile none", "UsePAM no", "StrictModes no", "PasswordAuthentication no", "KbdInteractiveAuthentication no"),
            *("PermitRootLogin prohibit-password", "MaxStartups 100", f"SetEnv HOME={self.home} PATH={path}", *self._config),
            *([f"Subsystem sftp {self._sftp}"] if self._sftp else []),
        ]
        config = self.folder / "sshd_config"
        config.write_text("\n".join(["PerSourcePenalties no", *lines, ""]))  # since 9.8; it would lock the tests out
        if subprocess.run([self._program, "-t", "-f", config], capture_output=True).returncode:
            config.write_text("\n".join([*lines, ""]))
        with self._log.open("w") as log:
            self._process = subprocess.Popen([self._program, "-D", "-e", "-f", config], stdout=log, stderr=log)
        self.trust(self.host_key)
        wait_for(lambda: "Server listening" in self._log.read_text() or self._process.poll() is not None, seconds=START_S)
        return self._process.poll() is None

    def stop(self) -> None:
        """End it and what serves its sessions."""
        for pid in (*self.sessions(), self._process.pid):
            with suppress(ProcessLookupError):  # a session that has just ended by itself
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def sessions(self) -> list[int]:
        """The processes of sshd that serve sessions."""
        found, parents = [], {self._process.pid}
        while parents:
            children = {int(pid) for parent in parents for pid in _children(parent)}
            parents = {pid for pid in children if _command(pid).startswith("sshd")}
            found += sorted(parents)
        return found

    def target(self, **changes: Any) -> SshTarget:
        return SshTarget.parse(
            **{"host": f"{USER}@127.0.0.1:{self.port}", "key": self.key, "known_hosts": self.known_hosts, "connect_timeout_s": 60.0}
            | changes
        )

    def place(self, name: str = "run", *, keepalive_s: float = 10.0, **changes: Any) -> SshPlace:
        return SshPlace(self.target(**changes), name, keepalive_s=keepalive_s)

    def files(self, name: str = "run") -> Path:
        """Where the place of that name lies."""
        return self.home / ".cache" / "segnas" / name


def wrapped_sftp(folder: Path, *lines: str) -> str:
    """A subsystem command: the lines of a shell script, then OpenSSH's sftp-server in place of the shell."""
    server = next(
        (path for path in map(Path, ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server")) if path.exists()), None
    )
    if server is None:
        pytest.skip("no sftp-server here: apt-get install openssh-sftp-server")
    script = folder / "sftp.sh"
    script.write_text("\n".join([*lines, f'exec "$@" {server}', ""]))
    return f"/bin/sh {shlex.quote(str(script))}"


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except FileNotFoundError:
        return ""
