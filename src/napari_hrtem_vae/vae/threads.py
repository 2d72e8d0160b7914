"""Work shared among threads: each works on parts of its own, with one thread of torch's.

Small products that torch splits over its own threads wait for each other longer than they work, and most of
all where other processes are busy too: they wait by counting, not by sleeping.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

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
