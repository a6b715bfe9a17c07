"""Writing ggml, ggmf and ggjt files as the programs of 2023 did, byte for byte.

Source: convert-pth-to-ggml.py of llama.cpp before PR #252 (ggml), at #252 (ggmf) and #613 (ggjt).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import BinaryIO, Literal

import numpy as np

from llama_edu.config import ModelConfig, hidden_dim_by_rule
from llama_edu.errors import FormatError
from llama_edu.files.ggml.header import ALIGNMENT, TYPE_IDS, Header
from llama_edu.files.layout import LoadTensor, PlannedTensor
from llama_edu.files.magic_numbers import GGJT, GGMF, GGML
from llama_edu.files.names import from_ours
from llama_edu.files.shards import cut_axis
from llama_edu.vocabulary import CONTROL, UNKNOWN, UNKNOWN_TEXT, Vocabulary

#: A format of this family in Python and on the command line.
FormatName = Literal["ggml", "ggmf", "ggjt-v1", "ggjt-v2", "ggjt-v3"]

#: What users call these formats -> (magic on disk, version).
FORMATS: dict[FormatName, tuple[bytes, int]] = {
    "ggml": (GGML, 0),
    "ggmf": (GGMF, 1),
    "ggjt-v1": (GGJT, 1),
    "ggjt-v2": (GGJT, 2),
    "ggjt-v3": (GGJT, 3),
}

#: Family of a type -> ftype, the header's number for the type of most matrices.
_FTYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q4_2": 5, "q4_3": 6, "q8_0": 7, "q5_0": 8,
           "q5_1": 9, "q2_k": 10, "q3_k": 12, "q4_k": 15, "q5_k": 17, "q6_k": 18}  # fmt: skip


def expressible(config: ModelConfig) -> None:
    """Raise FormatError, naming the features, unless these formats can express such a model."""
    unlike = []
    if config.n_kv_heads != config.n_heads:
        unlike.append(f"grouped-query heads ({config.n_kv_heads} for {config.n_heads})")
    if config.rope_theta != 10000:
        unlike.append(f"rope_theta {config.rope_theta:g}")
    if not math.isclose(config.norm_eps, 1e-6, rel_tol=1e-6):  # its readers assume this
        unlike.append(f"norm_eps {config.norm_eps:g}")
    if config.rope_scaling is not None:
        unlike.append("rope scaling")
    if config.activation != "silu":
        unlike.append(f"the activation {config.activation}")
    if config.n_experts:
        unlike.append(f"{config.n_experts} experts")
    if config.q_dim != config.dim:
        unlike.append(f"head_dim {config.head_dim}")
    if unlike:
        raise FormatError(
            f"the ggml family of 2023 has no field for {' and '.join(unlike)}; convert to gguf"
        )


def multiple_of_for(config: ModelConfig, stated: object = None) -> int:
    """A multiple_of from which a reader derives hidden_dim: the stated one if it fits."""
    for multiple_of in (stated, 256, *range(config.hidden_dim, 0, -1)):
        if (
            isinstance(multiple_of, int)
            and multiple_of > 0
            and hidden_dim_by_rule(config.dim, multiple_of) == config.hidden_dim
        ):
            return multiple_of
    raise FormatError(
        f"the ggml family of 2023 derives hidden_dim from a multiple_of, and no value gives "
        f"{config.hidden_dim} for dim {config.dim}; convert to gguf"
    )


def layouts(name: FormatName) -> tuple[str, ...]:
    """The types that this version of the format has."""
    return tuple(TYPE_IDS[max(1, FORMATS[name][1])].values())


def write_ggml(
    files: Sequence[BinaryIO],
    name: FormatName,
    config: ModelConfig,
    vocabulary: Vocabulary,
    tensors: Sequence[PlannedTensor],
    load: LoadTensor,
    multiple_of: int,
) -> None:
    """Write a checkpoint into one file, or split into several by fairscale's rule.

    Args:
        files: one binary file for each shard, at its start.
        name: of the format. tensors: what to write, in this order.
        load: returns the data of a planned tensor as stored, with RoPE's pairs side by side.
        multiple_of: from which a reader derives hidden_dim.
    Raises:
        FormatError: a matrix cannot be split into this many equal shards.
    """
    magic, version = FORMATS[name]
    matrix_types = [t.type.partition("_v")[0] for t in tensors if len(t.shape) == 2]
    most = max(dict.fromkeys(matrix_types), key=matrix_types.count)  # the first of equals
    header = Header(
        magic, version, config.vocab_size, config.dim, multiple_of, config.n_heads,
        config.n_layers, config.dim // config.n_heads, _FTYPES[most],
    )  # fmt: skip
    start = header.pack() + pack_vocabulary(vocabulary, with_scores=magic != GGML)
    for file in files:
        file.write(start)
    type_ids = {name: type_id for type_id, name in TYPE_IDS[max(1, version)].items()}
    for tensor in tensors:
        data = load(tensor)
        stored_name = from_ours(tensor.name, "meta").encode()
        shards = [data] if len(files) == 1 else _cut(data, tensor, len(files))
        for file, shard in zip(files, shards, strict=True):
            row_length = tensor.shape[-1] * shard.shape[-1] // data.shape[-1]
            shape = (*shard.shape[:-1], row_length)
            file.write(struct.pack("<iii", len(shape), len(stored_name), type_ids[tensor.type]))
            file.write(struct.pack(f"<{len(shape)}i", *reversed(shape)))
            file.write(stored_name)
            if header.aligned:
                file.write(bytes(-file.tell() % ALIGNMENT))
            file.write(np.ascontiguousarray(shard).reshape(-1).view(np.uint8).data)


def pack_vocabulary(vocabulary: Vocabulary, *, with_scores: bool) -> bytes:
    """Every piece as its length, its bytes and, since ggmf, its score."""
    packed = []
    for token, piece in enumerate(vocabulary.pieces):
        kind = vocabulary.kinds[token]
        text = {CONTROL: b"", UNKNOWN: UNKNOWN_TEXT}.get(int(kind), piece)
        packed += [struct.pack("<I", len(text)), text]
        if with_scores:
            packed.append(struct.pack("<f", vocabulary.scores[token]))
    return b"".join(packed)


def _cut(data: np.ndarray, tensor: PlannedTensor, n_shards: int) -> list[np.ndarray]:
    """The shards of one stored tensor: views of a matrix, or the same vector for every file."""
    if data.ndim == 1:
        return [data] * n_shards
    axis = cut_axis(tensor.name)
    if data.shape[axis] % n_shards:
        unit = "rows" if axis == 0 else "blocks of columns"
        raise FormatError(
            f"{tensor.name}: {data.shape[axis]} {unit} cannot be cut into {n_shards} equal shards"
        )
    return np.split(data, n_shards, axis=axis)
