"""The C library's allocator, set so that the time of a call does not depend on what was allocated before it."""

from __future__ import annotations

from nas.worker.host_memory import M_MMAP_MAX, M_TRIM_THRESHOLD, NEVER, keep_freed_memory

__all__ = ["M_MMAP_MAX", "M_TRIM_THRESHOLD", "NEVER", "keep_freed_memory"]
