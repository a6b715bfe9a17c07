"""One tensor of the source in the form to be written, converted a few rows at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llama_edu.convert.planning import source_of
from llama_edu.files.layout import Checkpoint, PlannedTensor, ShardedTensor, TensorSpec
from llama_edu.files.mapped import MappedFile
from llama_edu.files.parts.shards import join_rows
from llama_edu.files.row_order import rows_side_by_side
from llama_edu.quants.blocks import BLOCK_TYPES, block_type_of, dequantize
from llama_edu.quants.quantize import quantize
from llama_edu.quants.repack import can_repack, repack

#: Rows are converted in chunks of about this many float32 bytes.
_CHUNK_BYTES = 8 * 2**20


def load_as(
    checkpoint: Checkpoint, planned: PlannedTensor, files: Sequence[MappedFile]
) -> np.ndarray:
    """One tensor in the form to be written, with RoPE's pairs side by side.

    Returns:
        The source's own numbers if nothing has to change, else an array of the planned type.
    """
    shards, axis = _stored_shards(source_of(checkpoint, planned.name), files)
    out_type = BLOCK_TYPES[planned.type]
    if len(shards) == 1 and shards[0].dtype == out_type.dtype:
        data = shards[0]
    elif len(planned.shape) == 1:
        data = to_type(shards[0], planned.type, planned.name)
    else:
        n_rows, row_length = planned.shape
        data = np.empty((n_rows, row_length // out_type.block_size), out_type.dtype)
        step = max(1, _CHUNK_BYTES // (4 * row_length))
        for first in range(0, n_rows, step):
            last = min(n_rows, first + step)
            rows = join_rows(shards, axis, first, last)
            data[first:last] = to_type(rows, planned.type, planned.name)
    return rows_side_by_side(data, planned.name, checkpoint.config)


def _stored_shards(
    tensor: TensorSpec | ShardedTensor, files: Sequence[MappedFile]
) -> tuple[list[np.ndarray], int]:
    """The shards of a tensor (one if it is whole), and the axis that they split.

    They are read, not mapped: a mapped file that shrinks would kill the process.
    """
    if isinstance(tensor, TensorSpec):
        return [files[tensor.file].read(tensor)], 0
    shards = tensor.shards if tensor.axis is not None else tensor.shards[:1]
    return [files[shard.file].read(shard) for shard in shards], tensor.axis or 0


def to_type(stored: np.ndarray, type_name: str, where: str) -> np.ndarray:
    """Stored numbers of any type as another type; blocks of the same family keep their codes.

    Returns:
        An array of the type's dtype: `stored` itself if it already has it, else a new one.
    """
    if stored.dtype == BLOCK_TYPES[type_name].dtype:
        return stored
    if can_repack(block_type_of(stored).name, type_name):
        return repack(stored, type_name, where)
    return quantize(dequantize(stored), type_name, where=where)
