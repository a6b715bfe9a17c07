"""The product in numpy: x @ w.T, by the method that suits the type and the number of positions.

BLAS reads float32 weights in place, for a prompt in its threads or in ours (quicker.py). One
position (decode) uses one_position.py; several positions (prefill) use tiles.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import ShapeError
from llama_edu.matmul import one_position
from llama_edu.matmul.blas import can_control_blas
from llama_edu.matmul.quicker import QuickerWay
from llama_edu.matmul.threads import FEW_POSITIONS, run_shares, worth
from llama_edu.matmul.tiles import SMALLEST_NUMBERS, SMALLEST_ROWS, by_tiles
from llama_edu.quants.blocks import BlockType, block_type_of, dequantize_into

#: (x, w, threads) -> x @ w.T for stored weights.
Matmul = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class SharedInput:
    """A Matmul for which several matrices with one input are less work than each of them alone.

    Attributes:
        one: the product with one matrix.
        several: (x, matrices, threads) -> their products, in order.
    """

    one: Matmul
    several: Callable[[np.ndarray, Sequence[np.ndarray], int], list[np.ndarray]]

    def __call__(self, x: np.ndarray, w: np.ndarray, threads: int = 1) -> np.ndarray:
        """Multiply by one matrix: x @ w.T."""
        return self.one(x, w, threads)


#: Bytes of a stored matrix below which waking another thread takes longer than multiplying it.
_WORTH_WAKING = 256 * 1024


def matmul(x: np.ndarray, w: np.ndarray, threads: int = 1) -> np.ndarray:
    """Multiply every position by a stored matrix: x @ w.T.

    Args:
        x: (T, in_features) float32.
        w: (out_features, in_features / block_size), a view of any stored dtype, not copied.
        threads: the largest number of threads that share the rows; for float32 and fewer than
            FEW_POSITIONS, BLAS's own threads multiply.
    Returns:
        (T, out_features) float32, a new array.
    Raises:
        ShapeError: the two widths differ.
    """
    block = block_type_of(w)
    check_widths(x, w, block)
    if blas_can_read(w):
        is_shared = threads > 1 and len(x) >= FEW_POSITIONS and w.size >= SMALLEST_NUMBERS
        return _in_float32(x, w, threads) if is_shared and can_control_blas() else x @ w.T
    if len(x) == 1 and one_position.can_multiply(w, block):
        return one_position.multiply(x[0], w, block, threads)[np.newaxis]
    return by_tiles(x, w, threads, dequantize_into)


#: Whether our own threads share the rows of float32 weights (0), or BLAS's threads do (1).
_quicker = QuickerWay(2)


def _in_float32(x: np.ndarray, w: np.ndarray, threads: int) -> np.ndarray:
    """X @ w.T by whichever threads are quicker now.

    BLAS's threads wait for each other by spinning. On an idle machine that makes them a fifth
    faster; where other programs run, they take several times as long as ours.
    """
    way, start = _quicker.choose(), time.perf_counter()
    out = x @ w.T if way else _by_rows(x, w, threads)
    _quicker.record(way, out.size * x.shape[1], time.perf_counter() - start)
    return out


def _by_rows(x: np.ndarray, w: np.ndarray, threads: int) -> np.ndarray:
    """X @ w.T for float32, whose rows our own threads share; as many pieces as threads."""
    out = np.empty((len(x), len(w)), np.float32)

    def some_rows(start: int, stop: int) -> None:
        np.matmul(x, w[start:stop].T, out=out[:, start:stop])  # BLAS writes it in place

    threads = worth(threads, w.size, SMALLEST_NUMBERS / 2)
    run_shares(some_rows, len(w), threads, max(SMALLEST_ROWS, len(w) // threads))
    return out


def products(
    multiply: Matmul, x: np.ndarray, matrices: Sequence[np.ndarray], threads: int = 1
) -> list[np.ndarray]:
    """Multiply one input by several matrices: [multiply(x, w, threads) for w in matrices].

    With numpy's kernels and one position, each thread takes whole matrices: steps on a part of one
    matrix are too short to occupy two threads.
    """
    if isinstance(multiply, SharedInput):
        return multiply.several(x, matrices, threads)
    sharing = multiply is matmul and threads > 1 and len(x) == 1 and can_control_blas()
    if not sharing or any(blas_can_read(w) or w.nbytes < _WORTH_WAKING for w in matrices):
        return [multiply(x, w, threads) for w in matrices]
    results: list[np.ndarray] = [x] * len(matrices)

    def some_matrices(start: int, stop: int) -> None:
        for i in range(start, stop):
            results[i] = multiply(x, matrices[i], 1)

    run_shares(some_matrices, len(matrices), threads)
    return results


def check_widths(x: np.ndarray, w: np.ndarray, block: BlockType) -> None:
    """Raise ShapeError unless x and w have the same number of columns."""
    in_features = w.shape[1] * block.block_size
    if x.shape[1] != in_features:
        raise ShapeError(f"matmul: x has {x.shape[1]} features, expected {in_features}")


def blas_can_read(w: np.ndarray) -> bool:
    """Whether numpy hands `w` to BLAS in place; otherwise it would copy the whole matrix first."""
    return w.dtype == np.float32 and w.dtype.isnative and w.flags.aligned and w.flags.c_contiguous
