"""The stored number types as numpy dtypes, and how each becomes float32.

A plain type stores one number per element. A quantized type stores a block of numbers together: a
scale and the small integers it multiplies. All dtypes here are different, so an array's dtype alone
determines how it is read. The layouts of the quantized types are in legacy_quants.py, k_quants.py
and table_quants.py; quantize.py goes the other way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import FormatError, ShapeError
from llama_edu.quants import k_quants, legacy_quants, table_quants
from llama_edu.quants.bitfields import Groups, spread, widen_into
from llama_edu.quants.scaled import I8_SCALED, ScaledArray
from llama_edu.quants.transposed import TRANSPOSED, TransposedBlocks

#: Numbers converted at a time, 1 MiB of float32. With fewer, numpy's calls are so short that two
#: threads keep waiting at Python's global lock; with more, temporary arrays fall out of the cache.
_CHUNK_NUMBERS = 256 * 1024


@dataclass(frozen=True)
class BlockType:
    """One stored number type.

    Attributes:
        name: as in `TensorSpec.type`.
        dtype: numpy dtype of one block, least significant byte first; use `newbyteorder` for the
            other order.
        block_size: numbers per block; 1 for the plain types.
        widen: for the plain types: fills (..., n) float32 from (..., n) numbers.
        unpack: for the quantized types: unpacks (..., n_blocks) blocks into codes and scales.
            Both are None for types of which only the size is known, for i8_scaled, whose scales
            are not in the array, and for transposed, whose blocks have a type of their own.
    """

    name: str
    dtype: np.dtype
    block_size: int
    widen: Callable[[np.ndarray, np.ndarray], None] | None = None
    unpack: Callable[[np.ndarray], Groups] | None = None

    @property
    def dequantize(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """`dequantize` for plain arrays of this type; None if they cannot be converted."""
        return dequantize if self.widen or self.unpack else None

    @property
    def is_quantized(self) -> bool:
        """Whether several numbers share a scale, so that they were rounded more than a float is."""
        return self.block_size > 1 or self.dtype == I8_SCALED

    @property
    def bits_per_weight(self) -> float:
        """Average bits that one number takes on disk."""
        return 8 * self.dtype.itemsize / self.block_size


def _widen_number(x: np.ndarray, numbers: np.ndarray) -> None:
    numbers[...] = x


def _widen_bf16(x: np.ndarray, numbers: np.ndarray) -> None:
    """bfloat16 is the upper half of a float32: shift it back, exactly."""
    bits = numbers.view(np.uint32)
    bits[...] = x["bf16"]
    bits <<= 16


#: numpy has no bfloat16; a one-field dtype keeps it apart from uint16 numbers.
BF16 = np.dtype([("bf16", "<u2")])


def _listed_only(name: str, block_size: int, block_bytes: int) -> BlockType:
    """A type of which only the size is known: its dtype is one field of bytes with its name."""
    return BlockType(name, np.dtype([(name, "u1", block_bytes)]), block_size)


BLOCK_TYPES: dict[str, BlockType] = {
    block.name: block
    for block in (
        BlockType("f32", np.dtype("<f4"), 1, _widen_number),
        BlockType("f16", np.dtype("<f2"), 1, widen_into),
        BlockType("bf16", BF16, 1, _widen_bf16),
        BlockType("f64", np.dtype("<f8"), 1, _widen_number),
        BlockType("i8", np.dtype("i1"), 1, _widen_number),
        BlockType("i16", np.dtype("<i2"), 1, _widen_number),
        BlockType("i32", np.dtype("<i4"), 1, _widen_number),
        BlockType("i64", np.dtype("<i8"), 1, _widen_number),
        # ggjt v3 and GGUF
        BlockType("q4_0", legacy_quants.Q4_0, 32, unpack=legacy_quants.unpack_centered),
        BlockType("q4_1", legacy_quants.Q4_1, 32, unpack=legacy_quants.unpack_above_minimum),
        BlockType("q5_0", legacy_quants.Q5_0, 32, unpack=legacy_quants.unpack_centered),
        BlockType("q5_1", legacy_quants.Q5_1, 32, unpack=legacy_quants.unpack_above_minimum),
        BlockType("q8_0", legacy_quants.Q8_0, 32, unpack=legacy_quants.unpack_bytes),
        BlockType("q2_k", k_quants.Q2_K, 256, unpack=k_quants.unpack_q2_k),
        BlockType("q3_k", k_quants.Q3_K, 256, unpack=k_quants.unpack_q3_k),
        BlockType("q4_k", k_quants.Q4_K, 256, unpack=k_quants.unpack_q4_k),
        BlockType("q5_k", k_quants.Q5_K, 256, unpack=k_quants.unpack_q5_k),
        BlockType("q6_k", k_quants.Q6_K, 256, unpack=k_quants.unpack_q6_k),
        # GGUF alone
        BlockType("iq4_nl", table_quants.IQ4_NL, 32, unpack=table_quants.unpack_iq4_nl),
        BlockType("iq4_xs", table_quants.IQ4_XS, 256, unpack=table_quants.unpack_iq4_xs),
        BlockType("tq1_0", table_quants.TQ1_0, 256, unpack=table_quants.unpack_tq1_0),
        BlockType("tq2_0", table_quants.TQ2_0, 256, unpack=table_quants.unpack_tq2_0),
        BlockType("mxfp4", table_quants.MXFP4, 32, unpack=table_quants.unpack_mxfp4),
        # ggjt v2; its q5_0 and q5_1 are those of v3
        BlockType("q4_0_v2", legacy_quants.Q4_0_V2, 32, unpack=legacy_quants.unpack_centered),
        BlockType("q4_1_v2", legacy_quants.Q4_1_V2, 32, unpack=legacy_quants.unpack_above_minimum),
        BlockType("q8_0_v2", legacy_quants.Q8_0_V2, 32, unpack=legacy_quants.unpack_bytes),
        # ggml, ggmf and ggjt v1; their q8_0 is that of v2
        BlockType("q4_0_v1", legacy_quants.Q4_0_V1, 32, unpack=legacy_quants.unpack_centered),
        BlockType("q4_1_v1", legacy_quants.Q4_1_V1, 32, unpack=legacy_quants.unpack_above_minimum),
        BlockType("q4_2", legacy_quants.Q4_2, 16, unpack=legacy_quants.unpack_centered),
        BlockType("q4_3", legacy_quants.Q4_3, 16, unpack=legacy_quants.unpack_above_minimum),
        BlockType("q5_0_v1", legacy_quants.Q5_0_V1, 32, unpack=legacy_quants.unpack_centered),
        BlockType("q5_1_v1", legacy_quants.Q5_1_V1, 32, unpack=legacy_quants.unpack_above_minimum),
        # llama2.c version 2: the dtype of a ScaledArray, which holds the scales separately
        BlockType("i8_scaled", I8_SCALED, 1),
        # blocks that run along the first axis: the dtype of a TransposedBlocks
        BlockType("transposed", TRANSPOSED, 1),
        # Sizes from ggml-common.h of llama.cpp. q8_1 and q8_k are for activations; q4_0_4_4 to
        # q4_0_8_8 are q4_0 with rows interleaved for one processor, written from July to November
        # 2024.
        _listed_only("q8_1", 32, 36),
        _listed_only("q8_k", 256, 292),
        _listed_only("iq1_s", 256, 50),
        _listed_only("iq1_m", 256, 56),
        _listed_only("iq2_xxs", 256, 66),
        _listed_only("iq2_xs", 256, 74),
        _listed_only("iq2_s", 256, 82),
        _listed_only("iq3_xxs", 256, 98),
        _listed_only("iq3_s", 256, 110),
        _listed_only("q4_0_4_4", 32, 18),
        _listed_only("q4_0_4_8", 32, 18),
        _listed_only("q4_0_8_8", 32, 18),
        _listed_only("nvfp4", 64, 36),
        _listed_only("q1_0", 128, 18),
    )
}

#: Numbers of the types in a GGUF file, those of `enum ggml_type` in ggml.h. In ggjt files they
#: depend on the version; see files/ggml/header.py.
GGML_TYPE_IDS: dict[int, str] = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 9: "q8_1",
    10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k", 15: "q8_k", 16: "iq2_xxs",
    17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s", 20: "iq4_nl", 21: "iq3_s", 22: "iq2_s",
    23: "iq4_xs", 24: "i8", 25: "i16", 26: "i32", 27: "i64", 28: "f64", 29: "iq1_m", 30: "bf16",
    31: "q4_0_4_4", 32: "q4_0_4_8", 33: "q4_0_8_8", 34: "tq1_0", 35: "tq2_0", 39: "mxfp4",
    40: "nvfp4", 41: "q1_0",
}  # fmt: skip

_BY_DTYPE = {block.dtype: block for block in BLOCK_TYPES.values()}
_BY_DTYPE |= {block.dtype.newbyteorder(">"): block for block in BLOCK_TYPES.values()}


def block_type_of(array: np.ndarray) -> BlockType:
    """The stored type of an array, identified by its dtype in either byte order."""
    found = _BY_DTYPE.get(array.dtype)
    if found is None:
        raise FormatError(
            f"array of dtype {array.dtype}: not a stored number type, expected one of "
            f"{', '.join(BLOCK_TYPES)}"
        )
    return found


def by_column(array: np.ndarray) -> np.ndarray | None:
    """A matrix with its columns as stored rows: a view, or None where a block crosses columns.

    Args:
        array: (n_rows, n_columns / block_size) of any stored dtype.
    Returns:
        (n_columns, n_rows / block_size) of a dtype that `dequantize` reads.
    """
    if isinstance(array, TransposedBlocks):
        return array.stored
    is_plain = block_type_of(array).block_size == 1 and not isinstance(array, ScaledArray)
    return array.T if is_plain else None


def dequantize(array: np.ndarray) -> np.ndarray:
    """The numbers that stored blocks stand for.

    Args:
        array: (..., n_blocks) of any stored dtype and byte order.
    Returns:
        (..., n_blocks * block_size) float32, always a copy.
    Raises:
        FormatError: the dtype is not in `BLOCK_TYPES`, or its type can only be listed.
    """
    block_size = block_type_of(array).block_size
    out = np.empty((*array.shape[:-1], array.shape[-1] * block_size), np.float32)
    dequantize_into(array, out)
    return out


def dequantize_into(array: np.ndarray, out: np.ndarray) -> None:
    """Write the numbers that stored blocks stand for into a buffer, chunk by chunk.

    In addition to `out`, it needs temporary arrays of at most 2 MiB, however large the array is.

    Args:
        array: (..., n_blocks) of any stored dtype and byte order.
        out: (..., n_blocks * block_size) float32 to be overwritten, of any strides.
    Raises:
        FormatError: the dtype is not in `BLOCK_TYPES`, or its type can only be listed.
        ShapeError: `out` has another shape or dtype.
    """
    block = block_type_of(array)
    if block.dequantize is None and not isinstance(array, ScaledArray | TransposedBlocks):
        raise FormatError(
            f"type {block.name}: can be listed but not computed with; convert the file to another "
            f"type with the tool that made it"
        )
    expected = (*array.shape[:-1], array.shape[-1] * block.block_size)
    if out.shape != expected or out.dtype != np.float32:
        raise ShapeError(
            f"buffer for {block.name}: {out.dtype} {out.shape}, expected float32 {expected}"
        )
    if isinstance(array, TransposedBlocks):
        _turn_round(array, out)
        return
    if isinstance(array, ScaledArray):
        rows_per_chunk = max(1, _CHUNK_NUMBERS // max(1, array.shape[1]))
        for start in range(0, len(array), rows_per_chunk):
            stop = start + rows_per_chunk
            array[start:stop].dequantize_into(out[start:stop])
        return
    numbers = out if block.block_size == 1 else out.reshape(*array.shape, block.block_size)
    # a damaged file may hold scales that overflow: infinities and NaNs are then its real values
    with np.errstate(over="ignore", invalid="ignore"):
        _dequantize_in_chunks(block, array, numbers)


def _turn_round(array: TransposedBlocks, out: np.ndarray) -> None:
    """Each chunk of the stored rows becomes columns of the buffer."""
    n_rows, n_columns = array.shape
    per_chunk = max(1, _CHUNK_NUMBERS // (n_rows + 2 * array.block_size))
    for start in range(0, n_columns if n_rows else 0, per_chunk):
        columns = slice(start, start + per_chunk)
        blocks, ours = array.blocks_of(columns)
        out[:, columns] = dequantize(blocks)[:, ours].T


def _dequantize_in_chunks(block: BlockType, array: np.ndarray, numbers: np.ndarray) -> None:
    """Cut along the outermost axis until a chunk fits the cache, then compute its numbers."""
    if numbers.size == 0:
        return
    if numbers.size <= _CHUNK_NUMBERS:
        if block.unpack is not None:
            _multiply(block.unpack(array), numbers)
        elif block.widen is not None:
            block.widen(array, numbers)
    elif len(array) == 1:
        _dequantize_in_chunks(block, array[0], numbers[0])
    else:
        step = max(1, _CHUNK_NUMBERS * len(array) // numbers.size)
        for start in range(0, len(array), step):
            stop = start + step
            _dequantize_in_chunks(block, array[start:stop], numbers[start:stop])


def _multiply(groups: Groups, numbers: np.ndarray) -> None:
    """Every code times the scale of its group, plus the minimum of its group."""
    numbers = numbers.reshape(groups.codes.shape)
    numbers[...] = groups.codes
    numbers *= spread(groups.scales, numbers)
    if groups.minimums is not None:
        numbers += spread(groups.minimums, numbers)
