"""The tiles of an analysis on a dask cluster: each worker opens the video and writes its own regions."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
from collections.abc import Generator, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial

import dask
import distributed
import torch

from ..errors import ClusterError, ParameterError
from ..io.frames import reason
from ..io.results import store_errors, write_region
from ..progress import run
from .stored import TileJob, tile_into_store_steps
from .tiles import Tile
from .walk import Walk
from .worker_start import start_reading_in

_CONNECT_S = 5
_PAUSE_S = 0.1
# One tile at a time in a process: it uses all its threads, and its memory is meant for one.
_RESOURCE = "hrtem-vae"


@dataclass(frozen=True)
class ClusterParameters:
    """Who works on the tiles.

    Parameters
    ----------
    workers : int
        Processes of one thread each to be started on this computer; they share the memory allowed.
    address : str
        Of a dask scheduler, as "tcp://host:8786"; its workers may each take the memory allowed.

    Raises
    ------
    ParameterError
        Neither is given, or both, or a number out of range.
    """

    workers: int = 0
    address: str = ""

    def __post_init__(self) -> None:
        most = 8 * (os.cpu_count() or 1)
        if not 0 <= self.workers <= most:
            raise ParameterError(f"workers is {self.workers}; give a number from 1 to {most}.")
        if bool(self.workers) == bool(self.address):
            raise ParameterError("Give either a number of workers or the address of a cluster.")


@contextlib.contextmanager
def connected(cluster: ClusterParameters) -> Iterator[DaskCrew]:
    """The crew of a cluster; processes that were started here end with it.

    Raises
    ------
    ClusterError
        The cluster cannot be reached.
    """
    # Workers would look at their own stacks a hundred times a second.
    settings: dict[str, object] = {"distributed.worker.profile.enabled": False}
    if cluster.workers:
        settings["distributed.worker.multiprocessing-method"] = start_reading_in()
    with contextlib.ExitStack() as opened, dask.config.set(settings):
        try:
            place = cluster.address
            if cluster.workers:
                local = distributed.LocalCluster(
                    n_workers=cluster.workers,
                    threads_per_worker=1,
                    memory_limit=0,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
                place = opened.enter_context(local)
            client = opened.enter_context(distributed.Client(place, timeout=_CONNECT_S))
            # Workers read in what they need, seconds of it, while the video is looked at.
            for worker in client.scheduler_info(n_workers=-1)["workers"]:
                distributed.fire_and_forget(client.submit(_read_in, workers=worker, pure=False))
        except (OSError, ValueError, ImportError) as error:
            raise ClusterError(
                f"The cluster {cluster.address or 'on this computer'} cannot be reached ({reason(error)}); "
                "check that its scheduler runs, and its address, as tcp://host:8786."
            ) from error
        yield DaskCrew(client, max(1, cluster.workers))


@dataclass(frozen=True)
class DaskCrew:
    """The workers of a dask cluster as a `Crew`."""

    client: distributed.Client
    sharing: int

    @property
    def workers(self) -> int:
        """How many there are now; more may come."""
        return max(1, len(self.client.scheduler_info(n_workers=-1)["workers"]))

    def tiles_steps(self, job: TileJob, tiles: list[Tile]) -> Generator[Tile | None, None, None]:
        """Have tiles written to a store; a lost worker's tile is done again by another."""
        name = f"hrtem-vae-{uuid.uuid4().hex}"
        try:
            with _lost_workers():
                self.client.register_plugin(Workbench(name, job), name=name)
                futures = {self._submit(name, tile): tile for tile in tiles}
            while futures:
                done = [future for future in futures if future.done()]
                for future in done:
                    with _lost_workers():
                        future.result()
                    yield futures.pop(future)
                if not done:
                    yield None
                    time.sleep(_PAUSE_S)
        finally:
            # A stop reaches tiles that are being worked on by the plugin's end.
            with contextlib.suppress(OSError, RuntimeError, TimeoutError, CancelledError):
                self.client.unregister_worker_plugin(name)

    def _submit(self, name: str, tile: Tile) -> distributed.Future:
        key = f"{name}-{tile.edges}"
        return self.client.submit(_do_tile, name, tile, key=key, resources={_RESOURCE: 1}, pure=False)


@contextlib.contextmanager
def _lost_workers() -> Iterator[None]:
    try:
        yield
    except distributed.KilledWorker as error:
        raise ClusterError(
            "Workers died again and again over the same place of the video; give less memory with --memory, "
            "or look into their logs. What is finished is kept."
        ) from error
    except (OSError, CancelledError) as error:
        raise ClusterError(
            f"The cluster was lost ({reason(error)}); run the same analysis again to go on."
        ) from error


def _read_in() -> None:
    """Nothing: a worker that is asked to do it imports this module, and with it all that tiles need."""


def _do_tile(name: str, tile: Tile) -> None:
    """A task: one tile, by the bench of this worker."""
    distributed.get_worker().plugins[name].do(tile)


class Workbench(distributed.WorkerPlugin):  # type: ignore[misc]
    """What a worker needs for the tiles of one analysis; made ready when its first tile comes."""

    def __init__(self, name: str, job: TileJob) -> None:
        self.name, self.job = name, job

    async def setup(self, worker: distributed.Worker) -> None:
        """Be ready for one tile at a time, with all threads of the worker."""
        self._stopped = False
        self._walk: Walk | None = None
        self._threads = worker.state.nthreads
        await worker.set_resources(**{_RESOURCE: 1})

    def teardown(self, worker: distributed.Worker) -> None:
        """The analysis was stopped, or is done."""
        self._stopped = True
        self._walk = None

    def do(self, tile: Tile) -> None:
        """Encode and map a tile, and write its regions."""
        torch.set_num_threads(self._threads)
        walk = self._walk = self._walk or self.job.open()
        store = self.job.store
        with store_errors(store, "what is finished is kept: free space and run the same analysis again"):
            steps = tile_into_store_steps(
                walk, tile, store, partial(write_region, store), self.job.parameters
            )
            run(steps, stop=lambda: self._stopped)
