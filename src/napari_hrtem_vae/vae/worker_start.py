"""How workers of this computer are started: as copies of a process that has read in what they need."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_NEEDED = ["napari_hrtem_vae.vae.cluster", "napari_hrtem_vae.vae.analysis", "pint"]
# One thread each, as dask has it for workers that it starts itself; and what lies in the folder that a user
# is in, a torch.py among the videos say, is no module.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONSAFEPATH": "1",
}


def start_reading_in() -> str:
    """Have a process beside this one read in what workers need; each of them is then a copy of it.

    That takes 3 s of a core, once and not for each worker, while this process has other things to do.

    Returns
    -------
    str
        The name by which dask is told to start workers so: "forkserver"; "spawn" where torch is not known to
        bear being copied, and nothing was done.
    """
    if sys.platform != "linux":
        return "spawn"
    from multiprocessing import forkserver, resource_tracker

    multiprocessing.get_context("forkserver").set_forkserver_preload(_NEEDED)
    # Started within, it would let Ctrl-C through again.
    resource_tracker.ensure_running()
    with _as_workers_run():
        forkserver.ensure_running()
    return "forkserver"


@contextmanager
def _as_workers_run() -> Iterator[None]:
    """What a process that is started here has for its own: an environment, and Ctrl-C is no word to it."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
