"""Work shared among threads: each works on parts of its own, with one thread of torch's.

Small products that torch splits over its own threads wait for each other longer than they work, and most of
all where other processes are busy too: they wait by counting, not by sleeping.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import RLock
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

Part = TypeVar("Part")
Found = TypeVar("Found")


class Threads:
    """Threads that keep the memory that they work in, and end with this.

    Parameters
    ----------
    count : int
        With one the work is done where it is asked for.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))

    def share(self, work: Callable[[Part], Found], parts: Iterable[Part | None]) -> Iterator[Found | None]:
        """What `work` finds in each part, in order, a few parts ahead; None among the parts is handed on."""
        if self.count == 1:
            yield from (None if part is None else work(part) for part in parts)
            return
        waiting: deque[Future[Found]] = deque()
        before = torch.get_num_threads()
        try:
            for part in parts:
                if part is None:
                    yield None
                    continue
                waiting.append(self._pool.submit(work, part))
                if len(waiting) > 2 * self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            # The pool's threads changed what new threads begin with.
            torch.set_num_threads(before)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch works with one thread, in the thread that enters this."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _ProductsLimit:
    """One thread for products of numpy's and scipy's matrices while anybody wants it so."""

    def __init__(self) -> None:
        # Entered again where an analysis that was given up is cleared away within.
        self._lock = RLock()
        self._users = 0
        self._limits: threadpool_limits | None = None

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._limits = threadpool_limits(1, "blas")

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and self._limits is not None:
                self._limits.restore_original_limits()


_products = _ProductsLimit()


@contextmanager
def one_thread_of_blas() -> Iterator[None]:
    """Products of numpy's and scipy's matrices take one thread, in the whole process, until all have left.

    Threads of theirs wait for the next product by counting for some 30 ms: with few cores that takes more
    from what else is done than small products gain.
    """
    _products.enter()
    try:
        yield
    finally:
        _products.leave()
