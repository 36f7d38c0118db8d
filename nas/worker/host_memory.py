"""The C library's allocator, set so that the time of a call does not depend on what was allocated before it."""

import ctypes
import platform
from functools import lru_cache

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's `mallopt`."""

NEVER = 2**31 - 1
"""As much free memory may lie at the end of the heap before it goes back to the system."""


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it has freed, for its next allocations; for the rest of its life.

    By default glibc gives large freed blocks back to the system, or keeps them, depending on where in the heap they happen to lie.
    A network whose feature maps go back after each call faults every page of them in again at the next: SqueezeNAS networks at
    176x240 took 11 to 12 ms instead of 8 on an AMD Epyc (1,400 to 1,900 page faults a call), and the same network did or did not
    from one instance to the next. No sum over operations can predict that. A deployed program gets the same by calling this
    function, or by the environment variables `MALLOC_TRIM_THRESHOLD_=2147483647 MALLOC_MMAP_MAX_=0`.

    Returns:
        Whether the C library is glibc and took the settings; others are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(parameter, value) == 1 for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER)))
