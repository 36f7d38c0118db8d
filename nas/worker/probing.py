"""Reading of facts about a machine: files of its kernel below a root, and programs that may be absent.

What cannot be read is None, by rule: most devices have only some of these files and programs, and some are for root alone.
"""

import glob
import os
import re
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, List, Optional, Sequence

RunTool = Callable[[Sequence[str]], Optional[str]]
"""Runs a program; returns its standard output, or None where it is absent, fails or does not end in time."""

TOOL_SECONDS = 10.0
"""Time limit of a program, in s."""

_TOOL_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_MAX_LINE_BYTES = 65536


def read_probe(root: str, path: str) -> Optional[str]:
    """The text of a file without surrounding blanks and NULs; None where it cannot be read or is empty.

    Args:
        root: Prefix of the path; `/` on a device.
        path: The path below the root, without a leading slash.
    """
    try:
        text = Path(root, path).read_bytes().decode("utf-8", "replace").strip("\0 \t\r\n")
    except OSError:
        return None
    return text or None


def read_probe_number(root: str, path: str) -> Optional[int]:
    """The whole number in a file; None where there is none."""
    text = read_probe(root, path)
    return int(text) if text is not None and re.match(r"-?\d{1,19}$", text) else None


def probe_paths(root: str, pattern: str) -> List[str]:
    """The paths below the root that fit a pattern of `glob`, numbers in order of their value."""
    found = glob.glob(glob.escape(root.rstrip("/")) + "/" + pattern)  # noqa: PTH207  Path.glob fails where a folder vanishes
    paths = [str(Path(path).relative_to(root)) for path in found]
    return sorted(paths, key=lambda path: [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)])


def find_tool(name: str) -> Optional[str]:
    """Path of a program: on the PATH or where Jetsons keep theirs; None if there is none."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", os.defpath),) + _TOOL_FOLDERS))


def run_tool(arguments: Sequence[str]) -> Optional[str]:
    """The standard output of a program; None where it is absent, fails or takes more than `TOOL_SECONDS`."""
    process = _start_tool(arguments)
    if process is None:
        return None
    try:
        output = process.communicate(timeout=TOOL_SECONDS)[0]
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end_tool(process)
    return output.decode("utf-8", "replace") if process.returncode == 0 else None


def first_line_of_tool(arguments: Sequence[str]) -> Optional[str]:
    """The first line of a program that prints for ever, which is then stopped; None where none comes within `TOOL_SECONDS`."""
    process = _start_tool(arguments)
    if process is None or process.stdout is None:
        return None
    text = b""
    end = time.perf_counter() + TOOL_SECONDS
    try:
        while b"\n" not in text and len(text) < _MAX_LINE_BYTES:
            if not select.select([process.stdout], [], [], max(0.0, end - time.perf_counter()))[0]:
                return None
            more = os.read(process.stdout.fileno(), 4096)
            if not more:
                return None
            text += more
    finally:
        _end_tool(process)
    return text.split(b"\n")[0].decode("utf-8", "replace").strip() or None


def _start_tool(arguments: Sequence[str]) -> "Optional[subprocess.Popen[bytes]]":
    """Starts a program in a session of its own, so that what it starts itself can be stopped with it; None if it cannot be."""
    program = find_tool(arguments[0])
    if program is None:
        return None
    environment = dict(os.environ, LC_ALL="C")
    command = [program] + list(arguments[1:])
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except OSError:
        return None


def _end_tool(process: "subprocess.Popen[bytes]") -> None:
    """Stops a program that still runs, with whatever it started, and forgets its output."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
