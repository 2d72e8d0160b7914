"""The lock of a store that is being written: one run at a time, and none that a dead run holds for ever."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path


def take_lock(lock: Path) -> bool:
    """Make the lock file, over one of a run that is no more; False where another run may be at work."""
    return _take(lock) or (_set_aside_stale(lock) and _take(lock))


def _take(lock: Path) -> bool:
    """Make the lock file; False where it is already."""
    try:
        file = lock.open("x")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(f"{socket.gethostname()} {os.getpid()}")
    except OSError:
        lock.unlink(missing_ok=True)
        raise
    return True


def _set_aside_stale(lock: Path) -> bool:
    """Remove the lock of a run that is no more; False where the run may be at work."""
    try:
        content = lock.read_text()
        if not content:
            # A run writes its name right after it makes the lock; one without a name died in between.
            time.sleep(0.2)
            content = lock.read_text()
        if content:
            host, process = content.split()
            if host != socket.gethostname() or _alive(int(process)):
                return False
    except FileNotFoundError:
        return True
    except (ValueError, OverflowError):
        return False
    # Of several runs that find the lock stale, one alone can rename it.
    aside = lock.with_name(f"{lock.name}.{os.getpid()}")
    try:
        os.replace(lock, aside)
    except FileNotFoundError:
        return True
    if aside.read_text() != content:
        # Another run took the stale lock over since it was read: this one is that run's.
        os.replace(aside, lock)
        return False
    aside.unlink()
    return True


def _alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    if sys.platform == "win32":
        return _alive_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if sys.platform == "win32":

    def _alive_on_windows(process: int) -> bool:
        # Signal 0 would end the process there.
        import ctypes

        query_limited_information, still_active, access_denied = 0x1000, 259, 5
        system = ctypes.WinDLL("kernel32", use_last_error=True)
        system.OpenProcess.restype = ctypes.c_void_p
        handle = system.OpenProcess(query_limited_information, False, process)
        if not handle:
            return ctypes.get_last_error() == access_denied
        code = ctypes.c_ulong()
        told = system.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
        system.CloseHandle(ctypes.c_void_p(handle))
        return not told or code.value == still_active
