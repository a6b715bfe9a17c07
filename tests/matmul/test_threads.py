"""Work in pieces: each done once, none waited for that has not begun, errors where they belong."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

from llama_edu.matmul import blas, threads
from llama_edu.matmul.threads import run_shares, worth


def pieces_of(n_items: int, n_threads: int, smallest: int = 1) -> list[tuple[int, int]]:
    pieces = []
    run_shares(lambda start, stop: pieces.append((start, stop)), n_items, n_threads, smallest)
    return sorted(pieces)


@pytest.fixture
def pool(monkeypatch):
    """A pool of its own, whose threads have not been started."""
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    return threads._pool


@pytest.fixture
def no_helpers(pool, monkeypatch):
    """A pool whose threads get no core until they are let go; gives what they were asked."""
    asked = []
    monkeypatch.setattr(pool, "ask", lambda pieces, n: asked.extend([pieces] * n))
    return asked


@pytest.mark.parametrize(
    ("n_items", "n_threads", "smallest"),
    [(1, 2, 1), (3, 16, 1), (5, 4, 1), (7, 1, 1), (1, 1, 1), (100, 3, 1), (100, 3, 7), (5, 3, 9)],
)
def test_every_item_is_in_one_piece_and_no_piece_is_empty(n_items, n_threads, smallest):
    pieces = pieces_of(n_items, n_threads, smallest)
    assert all(start < stop for start, stop in pieces)
    assert [i for start, stop in pieces for i in range(start, stop)] == list(range(n_items))


def test_nothing_to_do_is_no_piece():
    assert pieces_of(0, 3) == []


def test_more_threads_are_woken_for_more_work_but_ever_more_slowly():
    assert [worth(16, work, 10) for work in (0, 19, 20, 159, 360, 1000, 10**6)] == [
        1, 1, 2, 2, 3, 5, 16,
    ]  # fmt: skip
    assert worth(1, 10**9, 10) == 1 and worth(2, 10**9, 0.5) == 2


def test_pieces_are_small_but_no_smaller_than_is_worth_a_call():
    assert len(pieces_of(1000, 2)) == 2 * threads._PIECES_PER_THREAD
    smallest = 120
    pieces = pieces_of(1000, 3, smallest)
    assert len(pieces) == 6  # not 8: the last two threads would wait for two others
    assert min(stop - start for start, stop in pieces) >= smallest
    assert len(pieces_of(1000, 3, 900)) == 3  # each thread has one


def test_a_single_thread_does_all_at_once():
    assert pieces_of(1000, 1) == [(0, 1000)]


def test_the_calling_thread_waits_for_none_that_has_not_begun(no_helpers):
    done = []
    run_shares(lambda start, stop: done.append((start, stop)), 12, 4)
    assert [i for start, stop in done for i in range(start, stop)] == list(range(12))
    assert len(no_helpers) == 3
    for late in no_helpers:
        late.help()
    assert len(done) == 12


def test_what_was_worked_on_is_not_kept_for_late_threads(no_helpers):
    array = np.zeros(24)
    gone = weakref.ref(array)
    run_shares(lambda start, stop, array=array: array[start:stop].sum(), 24, 2)
    del array
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("attempt", range(5))
def test_what_was_worked_on_is_not_kept_by_threads_that_helped(attempt):
    array = np.zeros(24)
    gone = weakref.ref(array)
    both = threading.Barrier(2)

    def work(start, stop, array=array):
        if start < 4:
            both.wait(20)
        array[start:stop] += 1

    run_shares(work, 24, 2)
    del array, work
    for _ in range(1000):  # the other thread may still be on its way out of help()
        if gone() is None:
            break
        threading.Event().wait(0.01)
    assert gone() is None


def test_other_threads_take_part():
    both, seen = threading.Barrier(3), set()

    def work(start: int, stop: int) -> None:
        if start < 3:
            both.wait(20)
        seen.add(threading.get_ident())

    run_shares(work, 18, 3)
    assert len(seen) == 3


@pytest.mark.parametrize("in_caller", [True, False])
def test_an_error_is_raised_when_all_pieces_have_ended(in_caller):
    caller, both, running = threading.get_ident(), threading.Barrier(2), []

    def work(start: int, stop: int) -> None:
        running.append(start)
        if start < 2:
            both.wait(20)
        if (threading.get_ident() == caller) == in_caller:
            raise ValueError(f"piece {start}")
        threading.Event().wait(0.05)
        running.remove(start)

    with pytest.raises(ValueError, match="piece"):
        run_shares(work, 12, 2)
    assert len(running) == 1  # the piece that failed; no other one is being worked on
    assert pieces_of(12, 2)[-1][1] == 12  # and the pool goes on


def test_work_within_work_ends():
    total = []

    def outer(start: int, stop: int) -> None:
        run_shares(lambda a, b: total.append((stop - start) * (b - a)), 10, 3)

    run_shares(outer, 7, 3)
    assert sum(total) == 70


def test_several_threads_of_a_program_share_work_at_once():
    barrier, sums = threading.Barrier(4), []

    def program() -> None:
        barrier.wait(20)
        for _ in range(200):
            found: list[int] = []
            run_shares(lambda a, b, found=found: found.append(b - a), 40, 3)
            sums.append(sum(found))

    programs = [threading.Thread(target=program) for _ in range(4)]
    for each in programs:
        each.start()
    for each in programs:
        each.join(60)
    assert sums == [40] * 800


def test_a_system_that_allows_no_more_threads_is_no_error(pool, monkeypatch):
    def refused(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert sum(stop - start for start, stop in pieces_of(30, 3)) == 30


def test_the_callers_numpy_settings_hold_in_every_thread():
    both = threading.Barrier(2)

    def work(start: int, stop: int) -> None:
        if start < 2:
            both.wait(20)
        np.float32(3e38) * np.float32(10)

    with np.errstate(over="ignore"):
        run_shares(work, 12, 2)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        run_shares(work, 12, 2)


@pytest.mark.skipif(not blas.can_control_blas(), reason="the threads of this BLAS cannot be set")
def test_blas_has_one_thread_in_every_piece():
    seen = set()

    def work(start: int, stop: int) -> None:
        seen.update(library.get_num_threads() for library in blas._libraries())

    for n_threads in (1, 2):
        run_shares(work, 12, n_threads)
    assert seen == {1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_in_a_program_that_shares_work_shares_it_too():
    program = """
import os, threading
from llama_edu.matmul.threads import run_shares, worth

def both_take_part():
    both, found = threading.Barrier(2), []
    def work(start, stop):
        if start < 2:
            both.wait(20)
        found.append(stop - start)
    run_shares(work, 12, 2)
    return sum(found)

both_take_part()
child = os.fork()
if child == 0:
    os._exit(both_take_part())
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), both_take_part())
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "12 12\n", done.stderr
