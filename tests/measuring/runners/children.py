"""A function in a process of its own, under limits: what it raises, and what it costs."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child ended: `kind` is `done`, the name of an error, or `killed`."""

    kind: str
    message: str = ""
    grown_mb: float = 0.0
    seconds: float = 0.0

    @property
    def refused(self) -> bool:
        return self.kind in {"TableError", "ConfigError"}


def used_kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def in_child(
    function: Callable[[], object], *, more_memory: int | None = None, most_bytes: int | None = None, timeout: float = 60.0
) -> Ended:
    """Forks, so that nothing has to be imported anew.

    Args:
        function: What the child calls.
        more_memory: Bytes of address space that it may take beyond what it has at its start.
        most_bytes: Size of the largest file that it can write, as on a full disk.
        timeout: Seconds after which it is killed.
    """
    reader, writer = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.write(writer, json.dumps(_outcome(function, more_memory, most_bytes)).encode()[:60_000])
        finally:
            os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], timeout)
    answer = os.read(reader, 65_536) if ready else b""
    os.close(reader)
    if not ready:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    seconds = time.monotonic() - start
    if not answer:
        return Ended(kind="killed", message="" if ready else "took too long", seconds=seconds)
    kind, message, grown = json.loads(answer)
    return Ended(kind=kind, message=message, grown_mb=grown, seconds=seconds)


def _outcome(function: Callable[[], object], more_memory: int | None, most_bytes: int | None) -> tuple[str, str, float]:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if more_memory is not None:
        limit = used_kib("VmSize") * 1024 + more_memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kind, message = "done", ""
    try:
        function()
    except UserError as error:
        kind, message = type(error).__name__, str(error)
    except BaseException as error:  # noqa: BLE001  the parent judges
        kind, message = type(error).__name__, str(error)[:2000]
    return kind, message, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def tree(folder: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: contents of files, targets of links, None for folders."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found
