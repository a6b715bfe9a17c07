"""How many threads a token gets, from times that are given and not measured."""

from __future__ import annotations

import pytest

from llama_edu.matmul.jit.token.pace import Pace


def run(pace: Pace, n_tokens: int, seconds_of, waits_of) -> tuple[float, list[int]]:
    """Centiseconds of all tokens and the threads of each, on a machine that is made up."""
    total, threads = 0.0, []
    for i in range(n_tokens):
        n = pace.threads
        threads.append(n)
        total += seconds_of(n, i)
        pace.record(seconds_of(n, i) / 100, waits_of(n, i))
    return total, threads


def test_on_an_idle_machine_all_threads_work_and_nothing_is_tried():
    pace = Pace(4)
    _, threads = run(pace, 500, lambda n, i: 1 / n, lambda n, i: 0)
    assert set(threads) == {4}


def test_now_and_then_a_long_wait_starts_no_trial():
    _, threads = run(Pace(2), 500, lambda n, i: 1 / n, lambda n, i: int(i % 20 == 0))
    assert set(threads) == {2}


@pytest.mark.parametrize("slowdown", [1.5, 3, 20])
def test_on_a_busy_machine_one_thread_takes_over(slowdown):
    total, threads = run(Pace(2), 300, lambda n, i: slowdown if n == 2 else 1, lambda n, i: n - 1)
    assert threads[-1] == 1 and threads.count(1) > 240
    assert total < 300 + 30 * slowdown


def test_all_threads_work_again_when_the_others_have_gone():
    pace = Pace(2)
    run(pace, 200, lambda n, i: 3.0 if n == 2 else 1, lambda n, i: n - 1)
    assert pace.threads == 1
    _, threads = run(pace, 700, lambda n, i: 1 / n, lambda n, i: 0)
    assert threads[-1] == 2 and set(threads[-150:]) == {2}


def test_where_all_threads_are_faster_in_spite_of_waits_they_stay():
    total, threads = run(Pace(2), 2000, lambda n, i: 0.8 if n == 2 else 1, lambda n, i: 5)
    assert threads.count(1) < 100 and total < 2000 * 0.81


def test_one_thread_has_no_choice():
    _, threads = run(Pace(1), 50, lambda n, i: 1.0, lambda n, i: 9)
    assert set(threads) == {1}
