"""The work of an analysis on a dask cluster: each worker opens the video and writes its own regions."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

import dask
import distributed
import torch

from ..errors import ClusterError, ParameterError
from ..io.frames import reason
from ..io.memory import keep_freed_memory
from ..progress import Progress, run
from .crew import Bench, Busy, Job, Shared
from .worker_start import start_reading_in

_CONNECT_S = 5
_PAUSE_S, _TELLING_S = 0.1, 0.5
# Workers would look at their own stacks a hundred times a second, and all loops at the time fifty times: a
# twentieth of two cores.
_WATCHING_LESS = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}
# One part at a time in a process: it uses all its threads, and its memory is meant for one.
_RESOURCE = "hrtem-vae"


@dataclass(frozen=True)
class ClusterParameters:
    """Who does the work.

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
    settings: dict[str, object] = dict(_WATCHING_LESS)
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

    def share(self, job: Job, parts: Sequence[Any]) -> Shared:
        """What a job makes of each part; a lost worker's part is done again by another."""
        name = f"hrtem-vae-{uuid.uuid4().hex}"
        shares: dict[int, float] = {}

        def hear(event: tuple[float, tuple[int, float]]) -> None:
            number, share = event[1]
            shares[number] = share

        try:
            with _lost_workers():
                self.client.subscribe_topic(name, hear)
                self.client.register_plugin(Workbench(name, job), name=name)
                futures = {self._submit(name, number, part): number for number, part in enumerate(parts)}
            workers = self.workers
            while futures:
                done = [future for future in futures if future.done()]
                for future in done:
                    with _lost_workers():
                        found = future.result()
                    yield futures.pop(future), found
                if done:
                    # They may come and go; to ask takes milliseconds.
                    workers = self.workers
                else:
                    yield Busy(workers, {number: shares.get(number, 0.0) for number in futures.values()})
                    time.sleep(_PAUSE_S)
        finally:
            # A stop reaches what is being worked on by the plugin's end.
            with contextlib.suppress(OSError, RuntimeError, TimeoutError, CancelledError, ValueError):
                self.client.unsubscribe_topic(name)
                self.client.unregister_worker_plugin(name)

    def _submit(self, name: str, number: int, part: Any) -> distributed.Future:
        key = f"{name}-{number}"
        resources = {_RESOURCE: 1}
        return self.client.submit(_do_part, name, number, part, key=key, resources=resources, pure=False)


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
    """Import all that jobs need."""
    from . import stored  # noqa: F401


def _do_part(name: str, number: int, part: Any) -> Any:
    """A task: one part, by the bench of this worker, which tells how far it is."""
    worker = distributed.get_worker()
    told = time.monotonic()

    def tell(progress: Progress) -> None:
        nonlocal told
        if time.monotonic() - told > _TELLING_S:
            told = time.monotonic()
            worker.log_event(name, (number, progress.done / max(1, progress.total)))

    return worker.plugins[name].do(part, tell)


class Workbench(distributed.WorkerPlugin):  # type: ignore[misc]
    """What a worker needs for the parts of one job; made ready when its first part comes."""

    def __init__(self, name: str, job: Job) -> None:
        self.name, self.job = name, job

    async def setup(self, worker: distributed.Worker) -> None:
        """Be ready for one part at a time, with all threads of the worker."""
        self._stopped = False
        self._bench: Bench | None = None
        self._threads = worker.state.nthreads
        await worker.set_resources(**{_RESOURCE: 1})

    def teardown(self, worker: distributed.Worker) -> None:
        """The job was stopped, or is done."""
        self._stopped = True
        self._bench = None

    def do(self, part: Any, tell: Callable[[Progress], None]) -> Any:
        """What the job makes of a part."""
        torch.set_num_threads(self._threads)
        keep_freed_memory()
        bench = self._bench = self._bench or self.job.open()
        return run(bench.work_steps(part), on_progress=tell, stop=lambda: self._stopped)
