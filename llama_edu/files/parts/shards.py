"""Tensors that were split across several files, and joining them: the copy that mmap cannot avoid.

A row of a matrix that was split by columns is half in one file and half in another. No mapping can
show it in one place, so the shards must be copied together. The one-file format of March 2023 did
this once, at conversion, so that no later start has to.
Source: fairscale/nn/model_parallel/layers.py, which split the matrices of Meta's LLaMA.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.layout import ShardedTensor, TensorSpec

#: Weights that fairscale splits by columns; every other matrix is split by rows.
_CUT_BY_COLUMNS = ("wo", "w_down", "token_embedding")


def cut_axis(name: str) -> int:
    """The axis that fairscale splits in one of our matrices: 0 rows, 1 columns."""
    return 1 if name.rpartition(".")[2] in _CUT_BY_COLUMNS else 0


def sharded(shards: Sequence[TensorSpec], vocab_size: int) -> ShardedTensor:
    """The whole tensor that shards, one from each file, make up.

    Llama 3 splits its embedding by rows: a shard of it has fewer rows than `vocab_size`.
    """
    first = shards[0]
    if len(first.shape) == 1:
        return ShardedTensor(first.name, first.type, first.shape, None, tuple(shards))
    rows, columns = first.shape
    axis = cut_axis(first.name)
    if first.name == "token_embedding" and rows != vocab_size:
        axis = 0
    shape = (rows * len(shards), columns) if axis == 0 else (rows, columns * len(shards))
    return ShardedTensor(first.name, first.type, shape, axis, tuple(shards))


def check_shards_agree(tensors: Sequence[Mapping[str, TensorSpec]], paths: Sequence[Path]) -> None:
    """Raise FormatError unless every file has the same tensors, with the same types and shapes.

    Args:
        tensors: for each file, its shards by our names.
        paths: the files.
    """
    for path, others in zip(paths[1:], tensors[1:], strict=True):
        for name, first in tensors[0].items():
            other = others.get(name)
            if other is None:
                raise FormatError(f"{path}: has no {name}, which {paths[0].name} has")
            if (other.type, other.shape) != (first.type, first.shape):
                raise FormatError(
                    f"{path}: {name} is {other.type} {other.shape}, in {paths[0].name} it is "
                    f"{first.type} {first.shape}; these shards are not from one model"
                )
        extra = next((name for name in others if name not in tensors[0]), None)
        if extra is not None:
            raise FormatError(f"{path}: has {extra}, which {paths[0].name} does not have")


def join(tensor: ShardedTensor, view: Callable[[TensorSpec], np.ndarray]) -> np.ndarray:
    """One array from all shards; blocks of quantized types move whole, so nothing is rounded.

    Args:
        view: returns the stored array of one shard.
    Returns:
        The whole tensor in stored form: a copy, or the first shard's `view` if every shard is a
        full copy.
    """
    if tensor.axis is None:
        return view(tensor.shards[0])
    return np.concatenate([view(shard) for shard in tensor.shards], axis=tensor.axis)


def join_rows(shards: Sequence[np.ndarray], axis: int, start: int, stop: int) -> np.ndarray:
    """Rows start to stop of the joined matrix, so that a converter never holds all of it.

    Returns:
        (stop - start, ...) in stored form: a view if all these rows are in one shard, else a copy.
    """
    if axis == 1:
        return np.concatenate([shard[start:stop] for shard in shards], axis=1)
    rows_per_shard = len(shards[0])
    runs = []
    while start < stop:
        index, first = divmod(start, rows_per_shard)
        n_rows = min(stop - start, rows_per_shard - first)
        runs.append(shards[index][first : first + n_rows])
        start += n_rows
    return runs[0] if len(runs) == 1 else np.concatenate(runs)
