"""BLAS's threads: limited in any thread, by several at once, and given back."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from llama_edu.matmul import blas
from llama_edu.matmul.threads import run_shares

pytestmark = pytest.mark.skipif(
    not blas.can_control_blas(), reason="the threads of this BLAS cannot be set"
)


def now() -> set[int]:
    """What the libraries use at this moment."""
    return {library.get_num_threads() for library in blas._libraries()}


@pytest.fixture(autouse=True)
def two_threads():
    """Two threads before each test, whatever the machine has; afterwards as it was."""
    before = [library.get_num_threads() for library in blas._libraries()]
    for library in blas._libraries():
        blas._set(library, 2)
    if now() != {2}:
        pytest.skip("this BLAS has one thread only")
    yield
    assert now() == {2}, "a test left another number of threads behind"
    for library, n in zip(blas._libraries(), before, strict=True):
        blas._set(library, n)


def in_thread(work) -> object:
    """Run in a new thread; gives its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def test_the_limit_holds_within_and_ends_with_the_block():
    with blas.blas_threads(1):
        assert now() == {1}
        with blas.blas_threads(2):  # an inner wish for more does not undo the outer one
            assert now() == {1}
        assert now() == {1}
    assert now() == {2}


def test_a_limit_is_obeyed_in_every_thread():
    def limited() -> set[int]:
        with blas.blas_threads(1):
            return now()

    assert limited() == {1}
    assert in_thread(limited) == {1}
    assert in_thread(limited) == {1}
    assert limited() == {1}


@pytest.mark.parametrize("first_to_end", [0, 1])
@pytest.mark.parametrize("wishes", [(1, 2), (2, 1), (1, 1)])
def test_two_users_at_once_leave_what_was_there(wishes, first_to_end):
    stacks = [ExitStack(), ExitStack()]
    for stack, n in zip(stacks, wishes, strict=True):
        stack.enter_context(blas.blas_threads(n))
    assert now() == {1}
    stacks[first_to_end].close()
    assert now() == {wishes[1 - first_to_end]}
    stacks[1 - first_to_end].close()
    assert now() == {2}


def test_many_threads_at_once_leave_what_was_there():
    barrier = threading.Barrier(6)

    def work(n: int) -> None:
        barrier.wait(20)
        for _ in range(300):
            with blas.blas_threads(n):
                assert max(now()) <= 2

    threads = [threading.Thread(target=work, args=(1 + i % 2,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert now() == {2}


def test_an_error_within_ends_the_limit():
    with pytest.raises(ValueError, match="within"), blas.blas_threads(1):
        raise ValueError("within")
    assert now() == {2}


def test_without_threadpoolctl_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(blas, "_libraries", lambda: ())
    with blas.blas_threads(1):
        pass
    assert not blas.can_control_blas.__wrapped__()


class BlasOfThreads:
    """A library with OpenMP's threads: each thread that calls it has its own setting."""

    threading_layer = "openmp"

    def __init__(self) -> None:
        self._own = threading.local()

    def get_num_threads(self) -> int:
        return getattr(self._own, "n", 4)

    def set_num_threads(self, n: int) -> None:
        self._own.n = n


def test_a_library_with_a_setting_for_each_thread_obeys_in_all_of_them(monkeypatch):
    library = BlasOfThreads()
    monkeypatch.setattr(blas, "_libraries", lambda: (library,))
    monkeypatch.setattr(blas, "_libraries_of_threads", blas._libraries_of_threads.__wrapped__)

    def limited() -> int:
        with blas.blas_threads(1):
            return library.get_num_threads()

    with blas.blas_threads(1):
        assert library.get_num_threads() == 1
        assert in_thread(limited) == 1
    assert library.get_num_threads() == 4
    both, seen = threading.Barrier(2), set()

    def work(start: int, stop: int) -> None:
        if start < 2:
            both.wait(20)
        seen.add(library.get_num_threads())

    run_shares(work, 12, 2)
    assert seen == {1}
