"""A logged-in connection and one folder on the far side: its files over SFTP, its programs over the shell."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import asyncssh

from nas.errors import ConfigError, ConnectionLostError
from nas.measuring.runners.place import OnLine
from nas.measuring.runners.ssh.login import log_in
from nas.measuring.runners.ssh.target import SshTarget
from nas.measuring.runners.untrusted_text import LineSplitter, PidLine, Tail, free_kib, plain

MAX_FILE_BYTES = 64 << 20
"""A larger file is not fetched."""
CHUNK_BYTES = 1 << 16
STOP_S = 4.0
"""Time for a program to end after each of the signals TERM and KILL, in seconds."""
PID_S = 1.0
"""Time to wait for the number of a program that should stop, in seconds."""
CLOSE_S = 3.0
"""Time limit of closing a connection, in seconds."""
NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit status of a POSIX shell that cannot execute the program."""

TELLS_PID = 'echo "segnas runs as process $$" >&2; exec "$0" "$@"'
"""A shell's script that names the process that its arguments become."""

Process = asyncssh.SSHClientProcess[bytes]


class SshSession:
    """State that lasts as long as the connection. No path or name that the far side sends is used on this machine.

    Args:
        connection: A connection on which the log-in is done.
        target: Its machine.
        name: The folder's name below `target.folder`.
    """

    def __init__(self, connection: asyncssh.SSHClientConnection, target: SshTarget, name: str) -> None:
        self._connection = connection
        self._target = target
        self._sftp: asyncssh.SFTPClient | None = None
        self._home = ""
        self._name = name
        self.where = f"{target.text}:{target.folder.rstrip('/')}/{name}"
        self.stderr = Tail()

    @classmethod
    async def open(cls, target: SshTarget, name: str, *, keepalive_s: float) -> SshSession:
        """Log in and ask where the home folder is, if the target's paths start there."""
        session = cls(await log_in(target, keepalive_s=keepalive_s), target, name)
        if target.folder.startswith("~/") or target.python.startswith("~/"):
            try:
                await session._find_home()
            except BaseException:
                await session.close(at_once=True)
                raise
        return session

    @property
    def is_closed(self) -> bool:
        """Whether the connection is known to have ended."""
        return self._connection.is_closed()

    async def close(self, *, at_once: bool) -> None:
        """End the connection; at once: without a word to a peer that may not answer."""
        if not at_once:
            self._connection.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._connection.wait_closed(), CLOSE_S)
                return
        self._connection.abort()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._connection.wait_closed(), CLOSE_S)

    async def put(self, name: str, content: bytes) -> None:
        """Write a file under a name of its own, check its size and rename it."""
        sftp = await self._files()
        part = f"{self._folder}/.{name}.part"
        try:
            with self._watched():
                await self._make_folder(sftp)
                async with sftp.open(part, "wb", attrs=asyncssh.SFTPAttrs(permissions=0o600)) as file:
                    await file.write(content)
                    with suppress(asyncssh.SFTPOpUnsupported):  # an extension of OpenSSH
                        await file.fsync()
                size = (await sftp.stat(part)).size
                if size != len(content):
                    raise asyncssh.SFTPFailure(f"{size} bytes arrived of {len(content)}")
                await sftp.posix_rename(part, f"{self._folder}/{name}")
        except asyncssh.SFTPError as error:
            raise ConfigError(await self._why_not_written(name, len(content), error)) from error

    async def get(self, name: str) -> bytes | None:
        """The content of a file as it is now; None if there is none."""
        sftp = await self._files()
        path = f"{self._folder}/{name}"
        try:
            with self._watched():
                size = (await sftp.stat(path)).size
                if size is None or size > MAX_FILE_BYTES:
                    raise ConfigError(
                        f"{self.where}: {name} has {size} bytes, expected at most {MAX_FILE_BYTES}: no file of the worker"
                    )
                async with sftp.open(path, "rb") as file:
                    content = await file.read(size) if size else b""
                    assert isinstance(content, bytes)  # opened as binary
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            return None
        except asyncssh.SFTPError as error:
            raise ConfigError(
                f"{self.where}: {name} cannot be read: {plain(error.reason)}; look at its owner and rights"
            ) from error
        if len(content) > size:
            raise ConfigError(f"{self.where}: {name} sent {len(content)} bytes, expected {size}")
        return content

    async def run(self, arguments: Sequence[str], on_line: OnLine) -> int:
        """Run `python -I ARGUMENTS` in the folder; `sh` in between says as which process, so that it can be stopped."""
        sftp = await self._files()
        try:
            with self._watched():
                await self._make_folder(sftp)
        except asyncssh.SFTPError as error:
            raise ConfigError(
                f"{self.where}: the folder cannot be made: {plain(error.reason)}; name another one: ssh.folder="
            ) from error
        program = shlex.join(["sh", "-c", TELLS_PID, self._absolute(self._target.python), "-I", *arguments])
        status = await self._execute(f"cd {shlex.quote(self._folder)} && exec {program}", on_line)
        if status in (NOT_EXECUTABLE, NOT_FOUND):
            raise ConfigError(
                f"{self.where}: {self._target.python} cannot be executed there{self._last_words()}; "
                "name an interpreter of Python 3.6 or newer: ssh.python="
            )
        return status

    async def remove(self) -> None:
        """Delete the folder and what is in it."""
        status = await self._execute(f"rm -rf -- {shlex.quote(self._folder)}", lambda _: None)
        if status:
            raise ConfigError(f"{self.where}: the folder cannot be removed{self._last_words()}; look at its owner and rights")

    @property
    def _folder(self) -> str:
        return f"{self._absolute(self._target.folder).rstrip('/')}/{self._name}"

    def _absolute(self, path: str) -> str:
        return f"{self._home}/{path[2:]}" if path.startswith("~/") else path

    def _last_words(self) -> str:
        return f" ({plain(self.stderr.lines[-1])})" if self.stderr.lines else ""

    async def _find_home(self) -> None:
        lines: deque[str] = deque(maxlen=1)  # what a chatty start-up file of the shell writes comes before
        status = await self._execute('printf "\\n%s\\n" "$HOME"', lines.append)
        home = lines[0] if lines else ""
        if status or not home.startswith("/") or not home.isprintable():
            said = f"{plain(home)!r}, exit status {status}{self._last_words()}"
            raise ConfigError(
                f"{self._target.text}: got no home folder from its shell ({said}); log in as a user with a shell of its own"
            )
        self._home = home.rstrip("/")

    async def _files(self) -> asyncssh.SFTPClient:
        if self._sftp is None:
            try:
                self._sftp = await asyncio.wait_for(self._start_sftp(), self._target.connect_timeout_s)
            except (asyncssh.SFTPError, asyncssh.ChannelOpenError, TimeoutError) as error:
                raise ConfigError(
                    f"{self._target.text}: its SSH server offers no file transfer (SFTP: {plain(str(error)) or 'no answer'}); "
                    "install openssh-sftp-server there, and let the shell's start-up files write nothing"
                ) from error
        return self._sftp

    async def _start_sftp(self) -> asyncssh.SFTPClient:
        with self._watched():
            return await self._connection.start_sftp_client()

    async def _make_folder(self, sftp: asyncssh.SFTPClient) -> None:
        if not await sftp.isdir(self._folder):
            await sftp.makedirs(self._folder, asyncssh.SFTPAttrs(permissions=0o700), exist_ok=True)

    async def _why_not_written(self, name: str, size: int, error: asyncssh.SFTPError) -> str:
        """SFTP has no word for a full disk, so `df` is asked once the unfinished file is gone."""
        if isinstance(error, asyncssh.SFTPPermissionDenied):
            return f"{self.where}: {name} may not be written there (permission denied); name a folder of this user: ssh.folder="
        if self._sftp is not None:
            with suppress(asyncssh.SFTPError):  # there may be none
                await self._sftp.remove(f"{self._folder}/.{name}.part")
        lines: deque[str] = deque(maxlen=10)
        await self._execute(f"df -Pk {shlex.quote(self._absolute(self._target.folder))}", lines.append)
        free = free_kib("\n".join(["", *lines]))
        needs = f"{name} needs {size / 2**20:.1f} MiB"
        if free is not None and free * 1024 < size:
            return f"{self.where}: no room: {needs}, {free / 1024:.1f} MiB are free; make room, or name another folder: ssh.folder="
        said = "an unknown part" if free is None else f"{free / 1024:.1f} MiB"
        return (
            f"{self.where}: {name} cannot be written ({plain(error.reason)}): {needs}, {said} of its disk is free; "
            "look for a quota, or name another folder: ssh.folder="
        )

    async def _execute(self, command: str, on_line: OnLine) -> int:
        """Run a command, its standard input closed; where anything goes wrong meanwhile it is stopped."""
        self.stderr = Tail()
        with self._watched():
            process = await self._connection.create_process(command, stdin=asyncssh.DEVNULL, encoding=None)
        pid_line = PidLine()
        errors = asyncio.create_task(self._keep_errors(process, pid_line))
        try:
            return await self._follow(process, on_line, errors)
        except BaseException:
            await self._stop(process, pid_line, errors)
            raise
        finally:
            errors.cancel()

    async def _follow(self, process: Process, on_line: OnLine, errors: asyncio.Task[None]) -> int:
        splitter = LineSplitter()
        while chunk := await self._chunk(process.stdout):
            for line in self._split(splitter, chunk):
                on_line(line)
        for line in splitter.end():
            on_line(line)
        await errors
        with self._watched():
            await process.wait_closed()
        if process.returncode is None:
            raise self._lost("the program's end was not reported")
        return process.returncode

    async def _chunk(self, reader: asyncssh.SSHReader[bytes]) -> bytes:
        with self._watched():
            return await reader.read(CHUNK_BYTES)

    async def _keep_errors(self, process: Process, pid_line: PidLine) -> None:
        with suppress(ConnectionLostError):  # standard output says so as well
            while chunk := await self._chunk(process.stderr):
                self.stderr.feed(pid_line.feed(chunk))
        self.stderr.feed(pid_line.end())

    async def _stop(self, process: Process, pid_line: PidLine, errors: asyncio.Task[None]) -> None:
        """End a program by its number: TERM, then KILL; one that did not say its number ends with its next output.

        The signals of SSH would not do: OpenSSH passes none on before 7.9, and none in a session of root.
        """
        end = time.monotonic() + PID_S
        while pid_line.pid is None and not errors.done() and time.monotonic() < end:
            await asyncio.sleep(0.02)
        errors.cancel()
        for signal in ("TERM", "KILL") if pid_line.pid else ():
            with suppress(TimeoutError, asyncssh.Error, OSError):  # the connection may be gone, or the program may have ended
                kill = self._connection.create_process(f"kill -{signal} {pid_line.pid}", stdin=asyncssh.DEVNULL, encoding=None)
                await asyncio.wait_for(kill, STOP_S)
                await asyncio.wait_for(_discard(process), STOP_S)
                return
        process.close()

    def _split(self, splitter: LineSplitter, chunk: bytes) -> list[str]:
        try:
            return splitter.feed(chunk)
        except ValueError as error:
            raise ConfigError(
                f"{self.where}: the program there {error}, expected short lines; is ssh.python= really Python?"
            ) from error

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Turns what breaks the connection into one error; what SFTP answers and what cannot be opened pass."""
        try:
            yield
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection) as error:
            raise self._lost(error.reason) from error
        except asyncssh.SFTPError:
            raise
        except asyncssh.ChannelOpenError as error:
            if self._connection.is_closed():
                raise self._lost(error.reason) from error
            raise
        except (asyncssh.Error, OSError) as error:
            raise self._lost(str(error)) from error

    def _lost(self, reason: str) -> ConnectionLostError:
        return ConnectionLostError(
            f"{self.where}: the connection broke off ({plain(reason)}){self._last_words()}; the same command goes on from there"
        )


async def _discard(process: Process) -> None:
    """Read until the end: a channel whose output waits is not closed."""

    async def empty(reader: asyncssh.SSHReader[bytes]) -> None:
        while await reader.read(CHUNK_BYTES):
            pass

    await asyncio.gather(empty(process.stdout), empty(process.stderr))
    await process.wait_closed()
