"""What a folder lies on, and whether other machines see the locks there."""

from __future__ import annotations

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
"""The mounts of this process (Linux, proc(5))."""
ONE_MACHINE = frozenset(
    {"9p", "afs", "beegfs", "glusterfs", "davfs", "ncpfs", "orangefs", "pvfs2", "smbfs", "vboxsf", "virtiofs", "vmhgfs"}
)
"""Types in a network, or shared by virtual machines, whose locks may hold on one machine alone."""
LOCAL_OPTIONS = {
    "nfs": {"nolock", "local_lock=all", "local_lock=flock"},
    "nfs4": {"nolock", "local_lock=all", "local_lock=flock"},
    "cifs": {"nobrl"},
    "smb3": {"nobrl"},
    "lustre": {"localflock"},
}
"""Types whose locks hold between machines, and the options with which they do not."""


def uncertain_locks(folder: Path, *, mounts: Path = MOUNTS) -> str | None:
    """The type of a file system whose locks may hold on this machine alone; None: they hold wherever the folder is seen.

    Args:
        folder: The folder.
        mounts: Where the system states its mounts; without such a file nothing is known, and nothing said.
    """
    try:
        lines = os.fsdecode(mounts.read_bytes()).rstrip("\n").split("\n")  # a path may hold what else ends a line in Unicode
    except OSError:
        return None
    path, found, longest = os.fspath(folder.resolve()), ("", ""), -1
    for line in filter(None, lines):
        head, _, tail = line.partition(" - ")
        point, words = _plain(head.split(" ")[4]), tail.split(" ")
        if len(point) >= longest and os.path.commonpath([path, point]) == point:
            longest, found = len(point), (words[0], words[-1])
    kind, options = found
    if kind in ONE_MACHINE or kind.split(".")[0] in ("fuse", "fuseblk"):
        return kind
    local = LOCAL_OPTIONS.get(kind, set()) & set(options.split(","))
    return f"{kind} with {min(local)}" if local else None


def _plain(point: str) -> str:
    """A path without the escapes of that file: a space is written as octal 040."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, character)
    return point
