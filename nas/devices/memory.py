"""Memory that a process may still take, and the most that it has held: from Linux' own files, or from PyTorch on CUDA.

What cannot be read is None: then nobody can say whether something fits.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROOT = Path("/")


def stated_bytes(text: str, key: str) -> int | None:
    r"""Bytes of a line `KEY: N kB` of /proc/meminfo or /proc/PID/status; None without one.

    >>> stated_bytes("Name: x\nVmHWM:\t    1234 kB\n", "VmHWM")
    1263616
    """
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if name == key and len(words) == 2 and words[0].isdecimal() and words[1] == "kB":
            return 1024 * int(words[0])
    return None


def left_in_cgroup(limit: str | None, used: str | None) -> int | None:
    r"""Bytes between memory.max and memory.current; None where there is no limit.

    >>> left_in_cgroup("1000\n", "400\n"), left_in_cgroup("max\n", "400\n"), left_in_cgroup(None, None)
    (600, None, None)
    """
    numbers = [text.strip() for text in (limit, used) if text is not None]
    if len(numbers) < 2 or not all(number.isdecimal() for number in numbers):
        return None
    return max(0, int(numbers[0]) - int(numbers[1]))


def left_of_address_space(limit: int, status: str) -> int | None:
    """Bytes that `ulimit -v` leaves a process; None where there is no limit."""
    taken = stated_bytes(status, "VmSize")
    return None if limit == resource.RLIM_INFINITY or taken is None else max(0, limit - taken)


def available_bytes(device: torch.device, root: Path = ROOT) -> int | None:
    """Memory that a process can still take: free memory of the GPU, or of this machine within the limits set for it.

    Args:
        device: The device.
        root: Where `proc` and `sys` lie.
    """
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    group = root / "sys" / "fs" / "cgroup"
    known = [
        stated_bytes(_text(root / "proc" / "meminfo") or "", "MemAvailable"),
        left_in_cgroup(_text(group / "memory.max"), _text(group / "memory.current")),
        left_of_address_space(resource.getrlimit(resource.RLIMIT_AS)[0], _text(root / "proc" / "self" / "status") or ""),
    ]
    return min((one for one in known if one is not None), default=None)


def resident_bytes(entry: str) -> int | None:
    """Resident memory of this process; None where the system has no such file.

    Args:
        entry: `VmRSS`: now; `VmHWM`: the most since it started.
    """
    return stated_bytes(_text(ROOT / "proc" / "self" / "status") or "", entry)


def peak_bytes(device: torch.device) -> int:
    """The most that this process has held: on CUDA in tensors, on the CPU in all, as resident memory.

    On Linux not from `getrusage`, whose number a process inherits from the one that started it.
    """
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    most = resident_bytes("VmHWM")
    if most is not None:
        return most
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _text(path: Path) -> str | None:
    """The text of a file of the kernel; None where there is none."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
