"""Memory that this process may still take on Linux: what the machine has, within the limit of its control group."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path("/")


def available_bytes(root: Path = ROOT) -> int | None:
    """The smaller of what the machine has available and what is left of the control group's limit; None: neither is stated.

    Args:
        root: Where `proc` and `sys` lie.
    """
    groups = root / "sys" / "fs" / "cgroup"
    stated = [
        of_meminfo(_text(root / "proc" / "meminfo")),
        of_cgroup(_text(groups / "memory.max"), _text(groups / "memory.current")),
    ]
    known = [one for one in stated if one is not None]
    return min(known) if known else None


def of_meminfo(text: str) -> int | None:
    r"""`MemAvailable` of `/proc/meminfo` in bytes; None where it is not stated.

    >>> of_meminfo("MemTotal: 8000 kB\nMemAvailable:    4000 kB\n")
    4096000
    """
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def of_cgroup(limit: str, used: str) -> int | None:
    r"""What is left of the limit of a control group (version 2) in bytes; None where there is no limit.

    >>> of_cgroup("1000\n", "400\n"), of_cgroup("max\n", "400\n")
    (600, None)
    """
    if not (limit.strip().isdecimal() and used.strip().isdecimal()):
        return None
    return max(0, int(limit) - int(used))


def _text(path: Path) -> str:
    """A file of the kernel; empty where the system has none."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
