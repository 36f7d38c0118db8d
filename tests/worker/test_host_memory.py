"""Freed memory stays with the process where it is told so: a call faults no pages in that the one before it had."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from nas.worker.host_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def call():
    np.ones(80_000_000, dtype=np.uint8)  # above the largest threshold at which glibc itself would keep it
call()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    call()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode):
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc")
def test_freed_memory_is_kept():
    assert faults("keep") < 100 < faults("default")
