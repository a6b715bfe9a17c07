"""What map= must do, and what is said where a function does something else."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from helpers.work import failing_at_3, squared

from llama_edu.errors import RequestError
from llama_edu.workers.pieces import EngineError, collected, each_done

PIECES = [5, 1, 4, 2]


@pytest.mark.parametrize(
    "function", [None, map, lambda f, pieces: [f(piece) for piece in reversed(pieces)]]
)
def test_results_come_with_the_number_of_their_piece(function):
    assert dict(each_done(squared, PIECES, function)) == {0: 25, 1: 1, 2: 16, 3: 4}
    assert collected(squared, PIECES, function).results == [25, 1, 16, 4]


def test_results_come_as_soon_as_the_engine_gives_them_and_progress_counts_pieces():
    began, seen = [], []

    def lazy(function, pieces):
        for piece in pieces:
            began.append(piece)
            yield function(piece)

    results = each_done(squared, PIECES, lazy, lambda *counts: seen.append(counts))
    assert next(results) == (0, 25) and len(began) == 1 and seen == [(1, 4)]
    results.close()
    assert len(began) == 1


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        ([], "map is a list, expected a function with the contract"),
        (lambda f, pieces: None, "gave nothing, expected the results"),
        (lambda f, pieces: 7, "gave a int, expected the results"),
        (lambda f, pieces: pieces, "gave a tuple, expected the result of the function"),
        (lambda f, pieces: [Future() for _ in pieces], "gave a Future, .* gather them first"),
        (lambda f, pieces: [None for _ in pieces], "gave nothing, expected the result of"),
        (lambda f, pieces: [f(pieces[0])] * 2, "for each of 4 pieces, once"),
        (lambda f, pieces: map(f, pieces[:3]), "gave 3 results, expected 4"),
        (lambda f, pieces: (), "gave 0 results, expected 4"),
    ],
)
def test_a_function_that_is_no_map_is_said(function, sentence):
    with pytest.raises(RequestError, match=sentence):
        collected(squared, PIECES, function)


def test_a_function_that_cannot_be_called_so_is_said_with_its_own_error():
    with pytest.raises(EngineError, match=r"after 0 of 4 pieces.*TypeError: .* 1 positional"):
        collected(squared, PIECES, lambda only: ())


def test_an_error_of_an_engine_keeps_what_was_done():
    def dying(function, pieces):
        yield from map(function, pieces[:2])
        raise ConnectionError("\x1b[2Jgone")

    done = collected(squared, PIECES, dying)
    assert done.results == [25, 1] and done.cut_short and done.n_pieces == 4
    with pytest.raises(EngineError, match=r"after 2 of 4 pieces.*\\x1b\[2Jgone") as raised:
        done.raise_with("the table")
    assert raised.value.kept == "the table"


def test_an_error_of_a_piece_is_raised_as_it_is_in_this_process():
    with pytest.raises(ValueError, match="three is too many"):
        collected(failing_at_3, [1, 3])
    with ThreadPoolExecutor(2) as pool:
        done = collected(failing_at_3, [1, 3], pool.map)
    assert done.results == [1] and "ValueError: three is too many" in str(done.error)


def test_ctrl_c_keeps_what_was_done_and_ends_where_nothing_was():
    def interrupted(function, pieces):
        yield from map(function, pieces[:1])
        raise KeyboardInterrupt

    done = collected(squared, PIECES, interrupted)
    assert done.results == [25] and done.cut_short and done.error is None
    done.raise_with(None)
    with pytest.raises(KeyboardInterrupt):
        collected(squared, [], lambda f, pieces: iter(interrupted(f, pieces)))
