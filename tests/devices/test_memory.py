"""How much memory is left, from the kernel's files; and what a cache may take of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.data.files import frame_cache
from nas.data.files.frame_cache import FrameCache
from nas.devices.memory import available_bytes, left_in_cgroup, stated_bytes
from nas.errors import DataError

CPU = torch.device("cpu")
# Linux 6.8, the first lines of /proc/meminfo.
MEMINFO = """MemTotal:       32718152 kB
MemFree:         1163160 kB
MemAvailable:   24117248 kB
Buffers:          652368 kB
"""


def root(path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def test_the_smaller_of_machine_and_control_group_counts(tmp_path: Path) -> None:
    group = {"sys/fs/cgroup/memory.max": "4294967296\n", "sys/fs/cgroup/memory.current": "1073741824\n"}
    assert available_bytes(CPU, root(tmp_path / "both", {"proc/meminfo": MEMINFO, **group})) == 3 * 2**30
    assert available_bytes(CPU, root(tmp_path / "machine", {"proc/meminfo": MEMINFO})) == 23 * 2**30
    unlimited = {**group, "sys/fs/cgroup/memory.max": "max\n"}
    assert available_bytes(CPU, root(tmp_path / "unlimited", {"proc/meminfo": MEMINFO, **unlimited})) == 23 * 2**30
    assert available_bytes(CPU, root(tmp_path / "group", group)) == 3 * 2**30
    assert available_bytes(CPU, tmp_path / "nothing") is None


@pytest.mark.parametrize("text", ["", "MemTotal: 1 kB\n", "MemAvailable: much kB\n", "MemAvailable: 5 MB\n"])
def test_what_meminfo_does_not_say_is_unknown(text: str) -> None:
    assert stated_bytes(text, "MemAvailable") is None


@pytest.mark.parametrize(("limit", "used", "left"), [("10", "40", 0), ("", "4", None), ("10", "", None), ("-1", "4", None)])
def test_a_group_beyond_its_limit_has_nothing_and_one_without_is_unknown(limit: str, used: str, left: int | None) -> None:
    assert left_in_cgroup(limit, used) == left


def test_a_cache_takes_half_of_the_available_memory_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 4 * 5 * 16 * 20
    monkeypatch.setattr(frame_cache, "available_bytes", lambda device: 2 * needed)
    FrameCache(5, (16, 20))
    monkeypatch.setattr(frame_cache, "available_bytes", lambda device: 2 * needed - 1)
    with pytest.raises(DataError, match="expected at most half of the .* GiB that are available; set data.cache=false"):
        FrameCache(5, (16, 20))
    monkeypatch.setattr(frame_cache, "available_bytes", lambda device: None)
    FrameCache(5, (16, 20))
