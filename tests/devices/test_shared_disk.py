"""Types of file systems and their options, from the lines that the kernel writes of mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nas.devices.shared_disk import uncertain_locks

ROOT = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw"


def mounts(folder: Path, *lines: str) -> Path:
    path = folder / "mountinfo"
    path.write_text("\n".join((ROOT, *lines)) + "\n")
    return path


def line(point: Path, kind: str, options: str) -> str:
    return (
        f"40 22 0:50 / {str(point).replace(' ', chr(92) + '040')} rw,relatime shared:2 master:1 - {kind} server:/export {options}"
    )


@pytest.mark.parametrize(
    ("kind", "options", "found"),
    [
        ("ext4", "rw", None),
        ("nfs", "rw,vers=3,local_lock=none", None),
        ("nfs4", "rw,vers=4.2,local_lock=none", None),
        ("nfs", "rw,vers=3,nolock,local_lock=all", "nfs with local_lock=all"),
        ("nfs4", "rw,local_lock=flock", "nfs4 with local_lock=flock"),
        ("cifs", "rw,nobrl", "cifs with nobrl"),
        ("ceph", "rw", None),
        ("lustre", "rw,flock", None),
        ("lustre", "rw,localflock", "lustre with localflock"),
        ("fuse.sshfs", "rw,user_id=0", "fuse.sshfs"),
        ("9p", "rw,trans=virtio", "9p"),
    ],
)
def test_the_type_is_named_where_locks_may_hold_on_one_machine_alone(tmp_path, kind, options, found):
    (tmp_path / "a disk" / "run").mkdir(parents=True)
    file = mounts(tmp_path, line(tmp_path / "a disk", kind, options))
    assert uncertain_locks(tmp_path / "a disk" / "run", mounts=file) == found
    assert uncertain_locks(tmp_path, mounts=file) is None


def test_a_name_that_begins_like_a_mount_is_not_below_it(tmp_path):
    (tmp_path / "disk2").mkdir()
    assert uncertain_locks(tmp_path / "disk2", mounts=mounts(tmp_path, line(tmp_path / "disk", "9p", "rw"))) is None


def test_the_later_of_two_mounts_at_one_place_counts(tmp_path):
    file = mounts(tmp_path, line(tmp_path, "9p", "rw"), line(tmp_path, "ext4", "rw"))
    assert uncertain_locks(tmp_path, mounts=file) is None


@pytest.mark.parametrize("name", ["form\x0cfeed", "separator\u2028line", "return\rhere", "bytes\udcff"])
def test_a_name_may_hold_what_ends_a_line_elsewhere(tmp_path, name):
    file = tmp_path / "mountinfo"
    file.write_bytes(os.fsencode("\n".join((ROOT, line(tmp_path / name, "9p", "rw"))) + "\n"))
    assert uncertain_locks(tmp_path / name, mounts=file) == "9p"
    assert uncertain_locks(tmp_path, mounts=file) is None


def test_a_system_that_states_no_mounts_is_taken_as_it_is(tmp_path):
    assert uncertain_locks(tmp_path, mounts=tmp_path / "none") is None
    (tmp_path / "empty").touch()
    assert uncertain_locks(tmp_path, mounts=tmp_path / "empty") is None
