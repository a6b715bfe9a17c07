"""The .bin files of llama2.c, and its tokenizer.bin.

Version 0 has no magic: seven numbers, then every weight as float32, all layers of one kind
together. It is recognised by arithmetic: the sizes in the header must call for exactly the bytes
that the file has. Source: `export.py` and `run.c` of karpathy/llama2.c.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError, ShapeError
from llama_edu.files.cursor import Cursor
from llama_edu.files.layout import BYTE, CONTROL, NORMAL, UNKNOWN, Checkpoint, Section, TensorSpec
from llama_edu.files.layout import Vocabulary
from llama_edu.files.mapped import open_weights

_HEADER = struct.Struct("<7i")
_HEADER_NAMES = (
    "dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len",
)  # fmt: skip

#: The order of the file: each kind of weight for all layers together.
_LAYER_KINDS_V0 = ("attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w_gate", "w_down", "w_up")

#: llama2.c trains and runs with this and stores it nowhere.
_NORM_EPS = 1e-5


def looks_like_llama2c(head: bytes, file_bytes: int) -> bool:
    """Whether the first bytes are a version 0 header that calls for exactly this many bytes."""
    try:
        config, shared = _config_v0(head)
    except (struct.error, ShapeError):
        return False
    return _implied_bytes(config, shared) == file_bytes


def read_llama2c(path: Path) -> Checkpoint:
    """The checkpoint in a version 0 file. Its tokenizer is a separate file.

    Raises:
        FormatError: the sizes in the header call for more or fewer bytes than the file has.
    """
    file_bytes = path.stat().st_size
    with open_weights(path) as file:
        head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise FormatError(
            f"{path}: has {len(head)} bytes, expected a header of {_HEADER.size}; it is truncated"
        )
    try:
        config, shared = _config_v0(head)
    except ShapeError as error:
        raise FormatError(f"{path}: {error}; it is not a llama2.c file") from None
    implied = _implied_bytes(config, shared)
    if implied != file_bytes:
        difference = (
            f"{implied - file_bytes:,} missing" if implied > file_bytes
            else f"{file_bytes - implied:,} too many"
        )  # fmt: skip
        raise FormatError(
            f"{path}: header implies {implied:,} bytes, file has {file_bytes:,} ({difference}); "
            f"download it again"
        )
    shapes = config.tensor_shapes(tied_output=shared)
    tensors: dict[str, TensorSpec] = {}
    offset = _HEADER.size

    def place(name: str) -> None:
        nonlocal offset
        n_bytes = 4 * math.prod(shapes[name])
        tensors[name] = TensorSpec(name, "f32", shapes[name], offset, n_bytes)
        offset += n_bytes

    place("token_embedding")
    for kind in _LAYER_KINDS_V0:
        for layer in range(config.n_layers):
            place(f"layers.{layer}.{kind}")
    place("final_norm")
    tables = Section("rotation tables (not used)", offset, _table_bytes(config))
    offset += tables.n_bytes
    if not shared:
        place("output")
    return Checkpoint(
        format="llama2.c v0",
        recognised_by="seven sizes that call for exactly the bytes this file has",
        paths=(path,),
        config=config,
        tensors=tensors,
        sections=(Section("header", 0, _HEADER.size), tables),
        metadata={"shared_classifier": shared},
    )


def _config_v0(head: bytes) -> tuple[ModelConfig, bool]:
    """Sizes, and whether the output is the embedding: a negative vocab_size means it is not."""
    values = dict(zip(_HEADER_NAMES, _HEADER.unpack_from(head), strict=True))
    shared = values["vocab_size"] > 0
    values["vocab_size"] = abs(values["vocab_size"])
    return ModelConfig(**values, norm_eps=_NORM_EPS), shared


def _table_bytes(config: ModelConfig) -> int:
    return 2 * 4 * config.max_seq_len * (config.head_dim // 2)


def _implied_bytes(config: ModelConfig, shared: bool) -> int:
    n_per_layer = (
        config.dim * (2 + 2 * config.q_dim + 2 * config.kv_dim) + 3 * config.dim * config.hidden_dim
    )
    n_outside = config.dim * (1 + config.vocab_size * (1 if shared else 2))
    n_weights = config.n_layers * n_per_layer + n_outside
    return _HEADER.size + 4 * n_weights + _table_bytes(config)


def looks_like_tokenizer_bin(head: bytes, file_bytes: int) -> bool:
    """Whether the first bytes can start a tokenizer.bin: a small length, then "<unk>"."""
    return file_bytes > 17 and head[8:17] == b"\x05\0\0\0<unk>"


def read_tokenizer_bin(path: Path, vocab_size: int | None = None) -> Vocabulary:
    """The vocabulary of a tokenizer.bin.

    Args:
        vocab_size: what the model expects, compared with what the file has.
    Raises:
        FormatError: truncated, or another number of pieces than the model has.
    """
    with open_weights(path) as file:
        cursor = Cursor(file.read(), path)
    longest = cursor.u32("longest piece")
    pieces, scores, kinds = [], [], []
    while not cursor.at_end:
        token = len(pieces)
        scores.append(cursor.f32(f"score of piece {token}"))
        length = cursor.count(f"length of piece {token}", least=0, at_most=min(longest, cursor.left))
        text = cursor.take(length, f"piece {token}")
        if len(text) == 6 and text.startswith(b"<0x") and text.endswith(b">"):
            kind, text = BYTE, bytes.fromhex(text[3:5].decode("ascii", "replace"))
        else:
            kind = {0: UNKNOWN, 1: CONTROL, 2: CONTROL}.get(token, NORMAL)
        pieces.append(text)
        kinds.append(kind)
    if vocab_size is not None and len(pieces) != vocab_size:
        raise FormatError(
            f"{path}: has {len(pieces)} pieces, the model has {vocab_size}; this is another "
            f"model's tokenizer"
        )
    return Vocabulary(tuple(pieces), np.array(scores, np.float32), np.array(kinds, np.uint8))
