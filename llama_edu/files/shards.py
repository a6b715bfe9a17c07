"""Joining the pieces of a tensor that was cut over several files: the copy that mmap cannot avoid.

A row of a matrix that was cut by columns lies half in one file and half in another. No mapping can
show it in one place, so the pieces must be copied together. The one-file format of March 2023 did
this once, at conversion, so that no later start has to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from llama_edu.files.layout import SplitTensor, TensorSpec


def join(tensor: SplitTensor, view: Callable[[TensorSpec], np.ndarray]) -> np.ndarray:
    """One array from all pieces; blocks of quantized types move whole, nothing is re-rounded.

    Args:
        view: gives the stored array of one piece.
    Returns:
        The whole tensor in stored form: a copy, or a view of the first piece where every part
        carries the same vector.
    """
    if tensor.axis is None:
        return view(tensor.pieces[0])
    return np.concatenate([view(piece) for piece in tensor.pieces], axis=tensor.axis)


def join_rows(pieces: Sequence[np.ndarray], axis: int, start: int, stop: int) -> np.ndarray:
    """Rows start to stop of the joined matrix, so that a converter never holds all of it.

    Returns:
        (stop - start, ...) in stored form: a view where the rows lie in one piece, else a copy.
    """
    if axis == 1:
        return np.concatenate([piece[start:stop] for piece in pieces], axis=1)
    rows_per_piece = len(pieces[0])
    chunks = []
    while start < stop:
        index, first = divmod(start, rows_per_piece)
        n_rows = min(stop - start, rows_per_piece - first)
        chunks.append(pieces[index][first : first + n_rows])
        start += n_rows
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


#: Weights that fairscale cuts by columns; every other matrix is cut by rows. Llama 3 cuts its
#: embedding by rows instead, which the shapes of the pieces tell.
_SPLIT_BY_COLUMNS = ("wo", "w_down", "token_embedding")


def split_axis(name: str) -> int:
    """The axis along which fairscale cuts one of our matrices: 0 rows, 1 columns."""
    return 1 if name.rpartition(".")[2] in _SPLIT_BY_COLUMNS else 0
