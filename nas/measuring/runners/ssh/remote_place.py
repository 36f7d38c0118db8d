"""A folder on another machine, reached over SSH."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from nas.errors import ConfigError, UserError
from nas.measuring.runners.place import OnLine
from nas.measuring.runners.ssh.target import SshTarget

if TYPE_CHECKING:
    from nas.measuring.runners.ssh.session import SshSession

__all__ = ["SshPlace", "SshTarget"]

T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class SshPlace:
    """The folder `NAME` below `target.folder` on the far side; a `Place`.

    The connection is opened at first use and kept; after it broke off, the next call opens another one. Each call runs an event
    loop until it is done, so Ctrl-C reaches it: a running program is stopped there first, then `KeyboardInterrupt` is raised.

    Args:
        target: The machine and how to log in.
        name: The folder's name: letters, digits, `.`, `_`, `-`.
        keepalive_s: Seconds of silence after which the far side is asked for a sign of life; it is taken for dead after three such
            questions without an answer.

    Raises:
        ConfigError: If the name is none, or if asyncssh is not installed.
    """

    def __init__(self, target: SshTarget, name: str, *, keepalive_s: float = 10.0) -> None:
        if find_spec("asyncssh") is None:
            raise ConfigError("runner=ssh: the package asyncssh is not installed: pip install 'segnas[ssh]'")
        self._target = target
        self._folder_name = _checked(name)
        self._keepalive_s = keepalive_s
        self._runner: asyncio.Runner | None = None
        self._session: SshSession | None = None
        self._stderr: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in messages, e.g. `ubuntu@jetson.local:~/.cache/segnas/3f2a`."""
        return f"{self._target.text}:{self._target.folder.rstrip('/')}/{self._folder_name}"

    @property
    def stderr(self) -> tuple[str, ...]:
        """The last lines, 20 at most, that the last program wrote to standard error; what is not printable is replaced."""
        return self._stderr

    def put(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all, in place of the one of that name.

        Raises:
            ConfigError: If it cannot be written there: no room, no rights, or no log-in.
            ConnectionLostError: If the connection broke off.
        """
        _checked(name)
        self._call(lambda session: session.put(name, content))

    def get(self, name: str) -> bytes | None:
        """The content of a file; None if there is none.

        Raises:
            ConfigError: If it is larger than 64 MiB or cannot be read.
            ConnectionLostError: If the connection broke off.
        """
        _checked(name)
        return self._call(lambda session: session.get(name))

    def run(self, arguments: Sequence[str], *, on_line: OnLine) -> int:
        """Run `python -I ARGUMENTS` in the folder and wait for its end; whatever `on_line` raises stops it.

        Returns:
            Its exit status; below 0: minus the number of the signal that ended it.

        Raises:
            ConfigError: If there is no such interpreter, or a line is longer than 1 MiB.
            ConnectionLostError: If the connection broke off.
        """
        for argument in arguments:
            if "\0" in argument:
                raise ConfigError(f"{self.name}: got an argument with a zero byte, expected text: {argument!r}")
        return self._call(lambda session: session.run(arguments, on_line))

    def remove(self) -> None:
        """Delete the folder and what is in it; nothing happens if there is none.

        Raises:
            ConfigError: If it cannot be deleted.
            ConnectionLostError: If the connection broke off.
        """
        self._call(lambda session: session.remove())

    def close(self) -> None:
        """End the connection; the next call opens another one."""
        if self._runner is None:
            return
        try:
            self._drop(at_once=False)
        finally:
            self._runner.close()
            self._runner = None

    def __enter__(self) -> Self:
        """The place itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _call(self, action: Callable[[SshSession], Coroutine[Any, Any, T]]) -> T:
        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            return self._runner.run(self._with_session(action))
        except UserError:
            raise
        except BaseException:
            self._drop(at_once=True)  # nobody knows in what state it is
            raise

    async def _with_session(self, action: Callable[[SshSession], Coroutine[Any, Any, T]]) -> T:
        from nas.measuring.runners.ssh.session import SshSession

        if self._session is None or self._session.is_closed:
            self._session = await SshSession.open(self._target, self._folder_name, keepalive_s=self._keepalive_s)
        session = self._session
        try:
            return await action(session)
        finally:
            self._stderr = session.stderr.lines

    def _drop(self, *, at_once: bool) -> None:
        session, self._session = self._session, None
        if session is not None and self._runner is not None:
            self._runner.run(session.close(at_once=at_once))


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"got the name {name!r}, expected up to 100 letters, digits, '.', '_' and '-', the first one no '.' or '-'"
        )
    return name
