"""Independent pieces of work, given to any function that keeps the contract of Executor.map.

That contract: `map(function, pieces)` gives the results one after the other, in order, and raises
what a piece raised. Source: concurrent.futures.Executor.map.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from llama_edu.errors import LlamaEduError, RequestError
from llama_edu.text import one_line

_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")

#: What `map=` takes: Executor.map of concurrent.futures, or a function with its contract.
MapFunction = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]

#: Called with (pieces done, pieces in all).
Progress = Callable[[int, int], object]


class EngineError(LlamaEduError):
    """The engine behind `map=` ended before all pieces were done; its own error is the cause.

    Attributes:
        kept: the result that was made of the pieces that are done; None where none is.
    """

    kept: object = None


@dataclass(frozen=True)
class _Numbered(Generic[_Result]):
    """The result of one piece, which says which one, so that the order may be another."""

    number: int
    result: _Result


def _numbered(
    function: Callable[[_Piece], _Result], piece: tuple[int, _Piece]
) -> _Numbered[_Result]:
    return _Numbered(piece[0], function(piece[1]))


def each_done(
    function: Callable[[_Piece], _Result],
    pieces: Sequence[_Piece],
    map: MapFunction | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, _Result]]:
    """Yield (number of the piece, its result) as soon as the engine hands it back.

    Args:
        function: defined at the top of a module, so that another process finds it by its name.
        pieces: records that can be pickled; none holds an open file.
        map: None works in this process, one piece after the other.
        progress: called after each piece.
    Raises:
        RequestError: `map` is no function, or what it gives are not the results of the pieces.
        EngineError: the engine ended: a worker was killed, a piece could not be sent.
        LlamaEduError: what a piece itself raised.
    """
    if map is not None and not callable(map):
        raise RequestError(
            f"map is a {type(map).__name__}, expected a function with the contract of "
            f"concurrent.futures.Executor.map, such as executor.map"
        )
    numbered = list(enumerate(pieces))
    seen: set[int] = set()
    for done in _results(partial(_numbered, function), numbered, map, seen):
        if not isinstance(done, _Numbered) or done.number in seen:
            raise RequestError(
                f"map: gave {_named(done)}, expected the result of the function for each of "
                f"{len(numbered)} pieces, once; where an engine gives futures, gather them first"
            )
        seen.add(done.number)
        if progress:
            progress(len(seen), len(numbered))
        yield done.number, done.result
    if len(seen) != len(numbered):
        raise RequestError(
            f"map: gave {len(seen)} results, expected {len(numbered)}, one for each piece"
        )


def _results(
    function: Callable[[Any], Any],
    pieces: Sequence[Any],
    map: MapFunction | None,
    seen: set[int],
) -> Iterator[object]:
    """What the engine gives; its own errors as an EngineError."""
    if map is None:
        yield from builtins.map(function, pieces)
        return
    results: Iterator[object] | None = None
    try:
        found = map(function, pieces)
        if not isinstance(found, Iterable):
            raise RequestError(
                f"map: gave {_named(found)}, expected the results, one for each piece, in order"
            )
        results = iter(found)
        while True:
            try:
                result = next(results)
            except StopIteration:
                return
            yield result
    except (LlamaEduError, GeneratorExit):
        raise
    except Exception as error:
        raise EngineError(
            f"map: the engine ended after {len(seen)} of {len(pieces)} pieces"
            f"{', which are kept' if seen else ''} "
            f"({type(error).__name__}: {one_line(str(error), 200)}); {_what_to_do(error)}"
        ) from error
    finally:
        close = getattr(results, "close", None)  # a generator gives back what it holds
        if close is not None:
            close()


def _what_to_do(error: Exception) -> str:
    said = str(error).lower()
    if isinstance(error, MemoryError) or "terminated" in said or " died while " in said:
        return "the system ends a process where memory is short: try fewer workers"
    return "see the engine's own messages"


def _named(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


@dataclass
class Outcome(Generic[_Result]):
    """The pieces that were done.

    Attributes:
        results: of those, in the order of the pieces. n_pieces: how many there are.
        cut_short: whether Ctrl+C ended it.
        error: that of the engine, or None.
    """

    results: list[_Result]
    n_pieces: int
    cut_short: bool = False
    error: EngineError | None = None

    def raise_with(self, kept: object) -> None:
        """Raise the engine's error, if there is one, with what was made of the done pieces."""
        if self.error is not None:
            self.error.kept = kept
            raise self.error


def collected(
    function: Callable[[_Piece], _Result],
    pieces: Sequence[_Piece],
    map: MapFunction | None = None,
    progress: Progress | None = None,
) -> Outcome[_Result]:
    """All pieces, or those that were done when Ctrl+C came or the engine ended.

    Raises:
        KeyboardInterrupt, EngineError: no piece was done.
        RequestError, LlamaEduError: as `each_done`.
    """
    found: dict[int, _Result] = {}
    cut_short, error = False, None
    try:
        for number, result in each_done(function, pieces, map, progress):
            found[number] = result
    except KeyboardInterrupt:
        if not found:
            raise
        cut_short = True
    except EngineError as ended:
        if not found:
            raise
        error = ended
    results = [found[number] for number in sorted(found)]
    return Outcome(results, len(pieces), cut_short or error is not None, error)
