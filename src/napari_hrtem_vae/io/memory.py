"""How much memory work may take."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_SHARE = 0.25
_FALLBACK = 4 << 30
# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 1 << 25


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
    """Have the C library hand back what it keeps of memory that ended threads had freed; glibc alone."""
    if library := _glibc():
        library.malloc_trim(0)


def keep_freed_memory() -> None:
    """Have the C library keep the memory of arrays up to 32 MB for the next ones; glibc alone.

    What is handed back is cleared anew each time it is needed: a third of the time of networks, more where
    dask has its workers hand back all but 64 kB.
    """
    if library := _glibc():
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_KEPT)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    # Other C libraries have no such functions, and keep less.
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
