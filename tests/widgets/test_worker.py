"""Work in a thread: every error is told, a cancel runs `finally` first, signals are rare."""

from __future__ import annotations

import threading
import time

import pytest

from napari_hrtem_vae.errors import CancelledError, VideoShapeError
from napari_hrtem_vae.widgets.worker import Latest, Outcome, Work, sentence_of


def ended(qtbot, work: Work, timeout_ms: int = 5000) -> Outcome:
    outcomes: list[Outcome] = []
    work.ended.connect(outcomes.append)
    work.start()
    qtbot.waitUntil(lambda: bool(outcomes), timeout=timeout_ms)
    return outcomes[0]


def test_the_result_arrives_in_the_thread_of_the_window(qtbot):
    where = []

    def steps():
        yield 1
        return threading.get_ident()

    work = Work(steps)
    work.ended.connect(lambda _: where.append(threading.get_ident()))
    outcome = ended(qtbot, work)
    assert outcome.result != threading.get_ident()
    assert where == [threading.get_ident()]


@pytest.mark.parametrize("error", [RuntimeError, ValueError, StopIteration, MemoryError, SystemExit])
def test_every_class_of_error_is_told(qtbot, error):
    def steps():
        yield 1
        raise error("broken")

    assert ended(qtbot, Work(steps)).error


def test_an_error_of_the_project_is_told_word_by_word(qtbot):
    def steps():
        yield 1
        raise VideoShapeError("The frames are too small; give larger ones.")

    assert ended(qtbot, Work(steps)).error == "The frames are too small; give larger ones."


def test_an_error_before_the_first_step_is_told(qtbot):
    def make():
        raise RuntimeError("no generator")

    assert "no generator" in ended(qtbot, Work(make)).error


def test_a_full_disk_is_told_with_the_systems_words():
    assert "No space left" in sentence_of(OSError(28, "No space left on device", "r.zarr"))


def test_cancel_runs_finally_before_it_says_so(qtbot):
    order = []

    def steps():
        try:
            while True:
                time.sleep(0.005)
                yield 1
        finally:
            order.append("finally")

    work = Work(steps)
    work.ended.connect(lambda outcome: order.append("cancelled" if outcome.cancelled else "else"))
    work.start()
    qtbot.wait(50)
    began = time.monotonic()
    work.stop()
    qtbot.waitUntil(lambda: len(order) == 2)
    assert time.monotonic() - began < 1
    assert order == ["finally", "cancelled"]


def test_an_error_while_ending_is_told(qtbot):
    def steps():
        try:
            while True:
                time.sleep(0.005)
                yield 1
        finally:
            raise CancelledError("The store cannot be closed.")

    work, outcomes = Work(steps), []
    work.ended.connect(outcomes.append)
    work.start()
    work.stop()
    qtbot.waitUntil(lambda: bool(outcomes))
    # stopped before the first step, the generator has nothing to end
    assert outcomes[0].cancelled or outcomes[0].error == "The store cannot be closed."


def test_nothing_yielded_is_lost_and_signals_are_rare(qtbot):
    count = 2000

    def steps():
        for i in range(count):
            time.sleep(0.0002)
            yield i

    batches: list[list[int]] = []
    work = Work(steps)
    work.progressed.connect(batches.append)
    began = time.monotonic()
    ended(qtbot, work)
    seconds = time.monotonic() - began
    assert [item for batch in batches for item in batch] == list(range(count))
    assert len(batches) <= 10 * seconds + 2


def test_abandoned_work_ends_and_is_silent(qtbot):
    told = []

    def steps():
        while True:
            time.sleep(0.005)
            yield 1

    work = Work(steps)
    work.start()
    qtbot.wait(30)
    work.progressed.connect(told.append)
    work.ended.connect(told.append)
    work.abandon()
    work.join(2)
    qtbot.wait(50)
    assert not work.running
    assert told == []


@pytest.mark.parametrize(("each", "expected"), [(False, [4]), (True, [0, 4])])
def test_of_waiting_requests_only_the_newest_is_run(qtbot, each, expected):
    run, taken = [], []
    gate = threading.Event()
    latest = Latest(lambda text: None, each=each)

    def request(i):
        def compute():
            gate.wait(2)
            run.append(i)
            return i

        latest.submit(compute, taken.append)

    for i in range(5):
        request(i)
    gate.set()
    qtbot.waitUntil(lambda: 4 in taken)
    assert taken == expected
    assert run == [0, 4]


def test_while_requests_never_cease_values_are_handed_over(qtbot):
    """As of a video that plays: whatever is done, something newer waits already."""
    taken = []
    latest = Latest(lambda text: None, each=True)

    def compute(i):
        return lambda: i

    def take(i):
        taken.append(i)
        if i < 8:
            latest.submit(compute(i + 2), take)

    latest.submit(compute(0), take)
    latest.submit(compute(1), take)
    qtbot.waitUntil(lambda: not latest.busy)
    assert taken == list(range(10))


def test_an_error_behind_which_something_newer_waits_is_not_told(qtbot):
    errors, taken = [], []
    latest = Latest(errors.append, each=True)
    latest.submit(lambda: 1 / 0, taken.append)
    latest.submit(lambda: 7, taken.append)
    qtbot.waitUntil(lambda: bool(taken))
    assert (errors, taken) == ([], [7])


def test_a_failed_request_is_told_and_the_next_one_runs(qtbot):
    errors, taken = [], []
    latest = Latest(errors.append)
    latest.submit(lambda: 1 / 0, taken.append)
    qtbot.waitUntil(lambda: bool(errors))
    latest.submit(lambda: 7, taken.append)
    qtbot.waitUntil(lambda: bool(taken))
    assert taken == [7]
