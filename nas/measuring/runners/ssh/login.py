"""Logging in over SSH: with public keys only, on hosts whose keys are known only; each refusal is one line that says what to do."""

from __future__ import annotations

import errno
import os
import re
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path

import asyncssh
from asyncssh.public_key import get_default_certificate_algs, get_default_public_key_algs

from nas.devices.path_settings import in_home
from nas.errors import ConfigError, ConnectionLostError
from nas.measuring.runners.ssh.target import SshTarget
from nas.measuring.runners.untrusted_text import plain

KEEPALIVE_COUNT = 3
"""After so many unanswered questions the peer is taken for dead."""
SSH_PORT = 22


class HostKeyWitness(asyncssh.SSHClient):
    """Remembers the host key that was not trusted; trusts none itself."""

    def __init__(self) -> None:
        self.refused: asyncssh.SSHKey | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called for a key that the known hosts do not hold."""
        self.refused = key
        return False


async def log_in(target: SshTarget, *, keepalive_s: float) -> asyncssh.SSHClientConnection:
    """Open a connection and log in.

    Nothing is asked on the terminal, no agent, display or environment is passed on, and no setting turns the check of the host key
    off: a configuration that says so is refused.

    Args:
        target: The machine.
        keepalive_s: Seconds of silence after which the peer is asked for a sign of life.

    Raises:
        ConfigError: If the user can correct it.
        ConnectionLostError: If the connection broke off in between.
    """
    asyncssh.set_log_level("WARNING")
    options = await _options(target, keepalive_s=keepalive_s)
    files = _known_hosts_files(target, options)
    known = _read_known_hosts(files)
    witness = HostKeyWitness()
    login = asyncssh.SSHClientConnectionOptions(
        options, known_hosts=known, client_factory=lambda: witness, server_host_key_algs=_host_key_algorithms(options, known)
    )
    try:
        return await asyncssh.connect(target.host, options=login)
    except asyncssh.HostKeyNotVerifiable as error:
        raise ConfigError(
            _host_key_message(target, options, witness=witness, known=known, files=files, reason=str(error))
        ) from error
    except asyncssh.PermissionDenied as error:
        raise ConfigError(_refusal(target, options)) from error
    except asyncssh.ConnectionLost as error:
        raise ConnectionLostError(
            f"{target.text}: the connection broke off before the log-in was done: {plain(str(error))}"
        ) from error
    except asyncssh.KeyExchangeFailed as error:
        raise ConfigError(
            f"{target.text}: its SSH server and this client have no algorithm in common: {plain(str(error))}"
        ) from error
    except asyncssh.Error as error:
        if "authentication failures" in error.reason:
            raise ConfigError(_refusal(target, options)) from error
        raise ConfigError(
            f"{target.text}: port {options.port} does not speak SSH with us ({plain(error.reason)}); "
            "name the port of its SSH server: host=USER@HOST:PORT"
        ) from error
    except OSError as error:
        raise _unreachable(target, options, error) from error


async def _options(target: SshTarget, *, keepalive_s: float) -> asyncssh.SSHClientConnectionOptions:
    """The SSH configuration with what the target says and what we insist on."""
    if target.key and not Path(in_home(str(target.key))).is_file():
        raise ConfigError(
            f"ssh.key: got {target.key}, which is no file; name the private key, or leave ssh.key out to use the agent"
        )
    only_this_key = {"client_keys": [str(target.key)], "agent_path": None, "pkcs11_provider": None, "agent_identities": None}
    try:
        options: asyncssh.SSHClientConnectionOptions = await asyncssh.SSHClientConnectionOptions.construct(
            config=(),  # the user's own
            host=target.host,
            port=target.port or (),
            username=target.user or (),
            connect_timeout=target.connect_timeout_s,
            keepalive_interval=keepalive_s,
            keepalive_count_max=KEEPALIVE_COUNT,
            preferred_auth=["publickey"],
            public_key_auth=True,
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_host=None,
            gss_auth=False,
            gss_kex=False,
            agent_forwarding=False,
            x11_forwarding=False,
            request_pty=False,
            command=None,
            **(only_this_key if target.key else {}),
        )
        return options
    except (ValueError, OSError, asyncssh.Error) as error:
        reason = plain(str(error))
        if target.key and reason.startswith("Passphrase"):
            raise ConfigError(
                f"ssh.key: {target.key} has a passphrase, which is not asked for here: ssh-add {target.key}, then leave ssh.key out"
            ) from error
        what = f"ssh.key: {target.key} cannot be used" if target.key else "the SSH configuration (~/.ssh) cannot be used"
        raise ConfigError(f"{what}: {reason}") from error


def _known_hosts_files(target: SshTarget, options: asyncssh.SSHClientConnectionOptions) -> list[Path]:
    """The files that hold the trusted keys; those of the configuration that do not exist hold none."""
    if target.known_hosts:
        path = Path(in_home(str(target.known_hosts)))
        if not path.is_file():
            raise ConfigError(f"ssh.known_hosts: got {target.known_hosts}, which is no file; expected one that ssh made")
        return [path]
    configured = options.known_hosts
    if configured is None:
        raise ConfigError(
            f"{target.text}: the SSH configuration says UserKnownHostsFile none, which would trust any host; "
            "remove that line, or name a file with ssh.known_hosts="
        )
    names = [str(name) for name in configured] if isinstance(configured, list | tuple) else []
    return [Path(in_home(name)) for name in names or ["~/.ssh/known_hosts"]]


def _read_known_hosts(files: list[Path]) -> asyncssh.SSHKnownHosts:
    try:
        return asyncssh.read_known_hosts([str(path) for path in files if path.is_file()])
    except (ValueError, OSError) as error:
        raise ConfigError(f"ssh.known_hosts: {', '.join(map(str, files))} cannot be read: {plain(str(error))}") from error


def _known_keys(
    options: asyncssh.SSHClientConnectionOptions, known: asyncssh.SSHKnownHosts
) -> tuple[Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey]]:
    """The machine's own keys and those of authorities that vouch for it."""
    port = None if options.port == SSH_PORT else options.port
    keys, authorities, *_ = known.match(options.host_key_alias or options.host, "", port)
    return keys, authorities


def _host_key_algorithms(options: asyncssh.SSHClientConnectionOptions, known: asyncssh.SSHKnownHosts) -> list[str] | tuple[()]:
    """Kinds of host keys to ask for, known ones first; with those alone, a host that was set up again could only hang up."""
    if options.config.get("HostKeyAlgorithms") is not None:
        return ()
    keys, authorities = _known_keys(options, known)
    algorithms = list(get_default_certificate_algs()) if authorities else []
    algorithms += [algorithm for key in keys for algorithm in key.sig_algorithms]
    return [name.decode() for name in dict.fromkeys([*algorithms, *get_default_public_key_algs()])]


def _host_key_message(
    target: SshTarget,
    options: asyncssh.SSHClientConnectionOptions,
    *,
    witness: HostKeyWitness,
    known: asyncssh.SSHKnownHosts,
    files: list[Path],
    reason: str,
) -> str:
    if witness.refused is None:
        return f"{target.text}: its host key or certificate is not trusted: {plain(reason)}"
    got = f"the host key {witness.refused.get_fingerprint()} ({witness.refused.get_algorithm()})"
    if _known_keys(options, known)[0]:
        return f"{target.text}: got {got}, but {_changed(options, files)}"
    return (
        f"{target.text}: got {got}, which is not in {_listed(files)}; compare it with the device's own, then accept it once with: "
        f"{target.command('ssh', user=options.username)}"
    )


def _changed(options: asyncssh.SSHClientConnectionOptions, files: list[Path]) -> str:
    host = options.host_key_alias or options.host
    entry = host if options.port == SSH_PORT else f"[{host}]:{options.port}"
    return (
        f"{_listed(files)} holds another key for it; somebody may be in between. If the device was really set up again: "
        f"{shlex.join(['ssh-keygen', '-R', entry, '-f', str(files[0])])}"
    )


def _listed(files: list[Path]) -> str:
    return ", ".join(map(str, files))


def _refusal(target: SshTarget, options: asyncssh.SSHClientConnectionOptions) -> str:
    keys = f"the key {target.key}" if target.key else "the keys of the SSH configuration and the agent"
    hint = "" if target.key else " (a key with a passphrase must be in the agent: ssh-add)"
    return (
        f"{target.text}: the user {options.username!r} was refused on {options.host} with {keys}{hint}; copy a public key there: "
        f"{target.command('ssh-copy-id', user=options.username)}"
    )


def _unreachable(
    target: SshTarget, options: asyncssh.SSHClientConnectionOptions, error: OSError
) -> ConfigError | ConnectionLostError:
    where, port = target.text, options.port
    numbers = {error.errno} if error.errno else {int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))}
    if isinstance(error, socket.gaierror):
        return ConfigError(f"{where}: the name {options.host} is not known ({plain(error.strerror or '')}); write its address")
    if isinstance(error, TimeoutError):
        return ConfigError(
            f"{where}: no SSH server answered on port {port} within {target.connect_timeout_s:g} s; "
            "is the device on, and in this network?"
        )
    if numbers == {errno.ECONNREFUSED}:
        return ConfigError(
            f"{where}: nothing listens on port {port}; start the SSH server there, or name its port: host=USER@HOST:PORT"
        )
    if numbers & {errno.ECONNRESET, errno.EPIPE}:
        return ConnectionLostError(f"{where}: the connection broke off before the log-in was done: {plain(str(error))}")
    reason = ", ".join(sorted(map(os.strerror, numbers))) or plain(str(error))
    return ConfigError(f"{where}: port {port} cannot be reached: {reason}; is the device on, and in this network?")
