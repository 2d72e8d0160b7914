"""Work shared among threads: order, what is handed on, and torch's own threads afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from napari_hrtem_vae.io.open import open_video
from napari_hrtem_vae.vae.analysis import analyze_steps
from napari_hrtem_vae.vae.parameters import AnalyzeParameters
from napari_hrtem_vae.vae.threads import Threads, one_thread, one_thread_of_blas


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 3])
def test_results_come_in_order_and_none_is_handed_on(count: int) -> None:
    found = list(Threads(count).share(lambda part: 2 * part, [*range(20), None, *range(20, 30)]))
    assert found.count(None) == 1
    assert [one for one in found if one is not None] == list(range(0, 60, 2))
    assert torch.get_num_threads() == 2


def test_parts_are_worked_on_at_once_each_with_one_thread() -> None:
    both = threading.Barrier(2, timeout=60)

    def work(_: int) -> int:
        both.wait()
        return torch.get_num_threads()

    assert list(Threads(2).share(work, range(2))) == [1, 1]


def test_what_fails_is_told_and_what_waits_is_given_up() -> None:
    done = []

    def work(part: int) -> int:
        if part == 2:
            raise ValueError(part)
        done.append(part)
        return part

    with pytest.raises(ValueError, match="2"):
        list(Threads(2).share(work, range(1000)))
    assert len(done) < 20
    assert torch.get_num_threads() == 2


def test_one_thread_is_for_a_while() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


@pytest.fixture
def two_threads_of_blas() -> Iterator[None]:
    with threadpool_limits(2, "blas"):
        if threads_of_blas() != {2}:
            pytest.skip("products of numpy's have no threads that can be told here")
        yield


def threads_of_blas() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.usefixtures("two_threads_of_blas")
def test_products_take_one_thread_until_the_last_who_asked_has_left() -> None:
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(one_thread_of_blas())
        second.enter_context(one_thread_of_blas())
        assert threads_of_blas() == {1}
        first.close()
        assert threads_of_blas() == {1}
        second.close()
        assert threads_of_blas() == {2}


@pytest.mark.usefixtures("two_threads_of_blas")
def test_an_analysis_that_is_given_up_leaves_products_their_threads(fast_model) -> None:
    video = open_video(np.random.default_rng(0).poisson(20, (10, 80, 80)))
    steps = analyze_steps(video, fast_model, AnalyzeParameters(step=8, device="cpu"))
    next(steps)
    assert threads_of_blas() == {1}
    steps.close()
    assert threads_of_blas() == {2}
