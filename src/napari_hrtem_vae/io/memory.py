"""How much memory work may take."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

_SHARE = 0.25
_FALLBACK = 4 << 30


def memory_budget(memory_gb: float | None = None) -> int:
    """Bytes that an analysis may take: what the user says, else a quarter of what is free."""
    if memory_gb is not None:
        return int(memory_gb * 1e9)
    return max(1 << 28, int(_SHARE * _free_bytes()))


def _free_bytes() -> int:
    """Memory that is free now, as the system tells it; 4 GiB where it does not."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return _FALLBACK


def give_back_memory() -> None:
    """Have the C library hand back what it keeps of memory that ended threads had freed; Linux alone."""
    if sys.platform == "linux":
        # Other C libraries than glibc have no such function, and keep less.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
