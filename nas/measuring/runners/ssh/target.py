"""A machine that is reached over SSH: how it is written, and the commands that its user may need."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path

from nas.errors import ConfigError

_HOST = re.compile(r"\w[\w.-]*")
_USER = re.compile(r"\w[\w.@+\\$-]*")
_FORM = "expected [USER@]HOST[:PORT], e.g. ubuntu@jetson.local:22, an IPv6 address in brackets"


@dataclass(frozen=True, kw_only=True, slots=True)
class SshTarget:
    """Target of a log-in: machine, keys, and interpreter and folder there.

    Raises:
        ConfigError: If a field has no possible value.
    """

    host: str
    """Name, address (IPv6 without brackets) or a Host alias of the SSH configuration."""
    user: str | None = None
    """None: the user of the SSH configuration, or the one of this machine."""
    port: int | None = None
    """None: the port of the SSH configuration, or 22."""
    key: Path | None = None
    """File of the private key; None: the keys of the SSH configuration and of the agent."""
    known_hosts: Path | None = None
    """File of the host keys that are trusted; None: those of the SSH configuration, or ~/.ssh/known_hosts."""
    python: str = "python3"
    """The interpreter there, of Python 3.6 or newer: a name, an absolute path, or one that starts with `~/`."""
    folder: str = "~/.cache/segnas"
    """The folder there below which everything lies: an absolute path, or one that starts with `~/`."""
    connect_timeout_s: float = 15.0
    """Time limit of connection and log-in together, in seconds."""

    def __post_init__(self) -> None:
        """Refuse what no machine can be reached with."""
        if not _HOST.fullmatch(self.host) and not _is_ipv6(self.host):
            raise ConfigError(f"host: got {self.host!r}, {_FORM}")
        if self.user is not None and not _USER.fullmatch(self.user):
            raise ConfigError(f"host: got the user {self.user!r}, {_FORM}")
        if self.port is not None and not 1 <= self.port <= 65535:
            raise ConfigError(f"host: got the port {self.port}, expected one from 1 to 65535")
        if not self.python or not self.python.isprintable() or self.python.startswith("-"):
            raise ConfigError(f"ssh.python: got {self.python!r}, expected the interpreter there, e.g. python3 or /usr/bin/python3")
        if not self.folder.startswith(("/", "~/")) or not self.folder.isprintable():
            raise ConfigError(f"ssh.folder: got {self.folder!r}, expected an absolute path there, or one that starts with ~/")
        if not math.isfinite(self.connect_timeout_s) or self.connect_timeout_s <= 0:
            raise ConfigError(f"connect_timeout_s: got {self.connect_timeout_s}, expected seconds above 0")

    @classmethod
    def parse(cls, *, host: str, **settings: object) -> SshTarget:
        """The target of `[USER@]HOST[:PORT]`; the other settings are the fields.

        Raises:
            ConfigError: If the text is malformed.

        >>> SshTarget.parse(host="ubuntu@[fe80::1]:2222").port
        2222
        """
        user, at, rest = host.rpartition("@")
        match = re.fullmatch(r"\[(?P<v6>[^\[\]]*)\](?::(?P<port6>[^:]*))?|(?P<name>[^:\[\]]*)(?::(?P<port>[^:]*))?", rest)
        if not match or (at and not user):
            raise ConfigError(f"host: got {host!r}, {_FORM}")
        name = match["name"] if match["v6"] is None else match["v6"]
        port = match["port"] if match["v6"] is None else match["port6"]
        if match["v6"] is not None and not _is_ipv6(name):
            raise ConfigError(f"host: got {host!r}, {_FORM}")
        if port is not None and not re.fullmatch(r"[0-9]{1,5}", port):
            raise ConfigError(f"host: got {host!r} with the port {port!r}, expected one from 1 to 65535")
        fields = {**settings, "user": user or None, "port": None if port is None else int(port)}
        return cls(host=name, **fields)  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        """The target as it is written.

        >>> SshTarget(host="fe80::1", user="ubuntu", port=2222).text
        'ubuntu@[fe80::1]:2222'
        """
        name = f"[{self.host}]" if ":" in self.host else self.host
        before = f"{self.user}@" if self.user else ""
        return f"{before}{name}:{self.port}" if self.port else f"{before}{name}"

    def command(self, program: str, *, user: str) -> str:
        """The command that a user types to reach the machine, with the port and the files of this target.

        Args:
            program: `ssh` or `ssh-copy-id`.
            user: Whom the target means.
        """
        words = [program]
        if self.key and program == "ssh-copy-id":
            words += ["-i", str(self.key)]
        if self.port:
            words += ["-p", str(self.port)]
        if self.known_hosts:
            words += ["-o", f"UserKnownHostsFile={self.known_hosts}"]
        return shlex.join([*words, f"{user}@{self.host}"])


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return text.isprintable() and not re.search(r"\s", text)
