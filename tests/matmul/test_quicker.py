"""Of several ways the quickest is taken, also when that changes."""

from __future__ import annotations

import numpy as np
import pytest

from llama_edu.matmul import product
from llama_edu.matmul.quicker import QuickerWay


def used(choice: QuickerWay, seconds: list[float], n: int) -> list[int]:
    """The ways of n pieces of work that take so long."""
    ways = []
    for _ in range(n):
        ways.append(choice.choose())
        choice.record(ways[-1], 1.0, seconds[ways[-1]])
    return ways


def test_the_quicker_way_is_taken_after_each_was_tried():
    for quick in (0, 1, 2):
        seconds = [1.25, 1.25, 1.25]
        seconds[quick] = 1.0
        ways = used(QuickerWay(3), seconds, 50)
        assert ways[:3] == [0, 1, 2] and set(ways[3:]) == {quick}


def test_the_others_are_tried_again_but_rarely():
    ways = used(QuickerWay(2), [1.0, 5.0], 1000)
    assert 5 <= ways.count(1) <= 20


def test_a_machine_that_becomes_busy_and_idle_again_is_noticed():
    choice = QuickerWay(2)
    used(choice, [1.25, 1.0], 100)
    assert choice.best == 1
    assert used(choice, [1.5, 5.0], 20).count(1) <= 3, "one slow piece or two, and it is left"
    back = used(choice, [1.25, 1.0], 300)
    assert back[-100:].count(1) > 90


def test_one_slow_piece_changes_nothing_for_long():
    choice = QuickerWay(2)
    used(choice, [1.25, 1.0], 10)
    choice.record(1, 1.0, 1.5)
    assert used(choice, [1.25, 1.0], 50).count(1) >= 45


@pytest.mark.parametrize("way", [0, 1])
def test_both_ways_multiply(monkeypatch, way):
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((21, 515)), rng.standard_normal((701, 515))
    x, w = x.astype(np.float32), w.astype(np.float32)
    choice = QuickerWay(2)
    monkeypatch.setattr(choice, "choose", lambda: way)
    monkeypatch.setattr(product, "_quicker", choice)
    found = product.matmul(x, w, 2)
    assert found.flags.c_contiguous and found.dtype == np.float32
    np.testing.assert_allclose(found, x.astype(float) @ w.T.astype(float), rtol=1e-4, atol=1e-4)
    assert choice.best == way
