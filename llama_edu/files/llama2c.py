"""The .bin files of llama2.c, and its tokenizer.bin.

Version 0 has no magic: seven numbers, then every weight as float32, all layers of one kind
together. It is recognized by arithmetic: the sizes in the header must call for exactly the bytes
that the file has. Version 1 has a magic and another order. Version 2 keeps matrices as int8 with a
float32 scale for each group of numbers, all scales of a matrix after all its numbers.
Source: `export.py`, `run.c` and `runq.c` of karpathy/llama2.c.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError, ShapeError
from llama_edu.files.cursor import Cursor
from llama_edu.files.fields import Field
from llama_edu.files.layout import MOST_LAYERS, Checkpoint, Section, TensorSpec
from llama_edu.files.magic_numbers import LLAMA2C
from llama_edu.files.mapped import MappedFile, OpenFiles

_HEADER = struct.Struct("<7i")
_HEADER_NAMES = (
    "dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len",
)  # fmt: skip

#: The order of version 0: each kind of weight for all layers together.
_LAYER_KINDS_V0 = ("attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w_gate", "w_down", "w_up")

#: Versions 1 and 2 put the norms first, then the matrices.
_NORMS_V1 = ("attention_norm", "ffn_norm")
_MATRICES_V1 = ("wq", "wk", "wv", "wo", "w_gate", "w_down", "w_up")

_HEADER_BYTES_V1 = 256


#: llama2.c trains and runs with this and stores it nowhere.
_NORM_EPS = 1e-5


def looks_like_llama2c(head: bytes, file_bytes: int) -> bool:
    """Whether the first bytes are a version 0 header that calls for exactly this many bytes."""
    try:
        config, shared = _config_v0(head)
    except (struct.error, ShapeError):
        return False
    return _implied_bytes(config, shared) == file_bytes


def read_llama2c(path: Path, files: OpenFiles) -> Checkpoint:
    """The checkpoint in a file of version 0, 1 or 2. Its tokenizer is a separate file.

    Raises:
        FormatError: the sizes in the header call for more or fewer bytes than the file has.
    """
    return _read(files.open(path))


def _read(mapped: MappedFile) -> Checkpoint:
    head = mapped.mmap[:_HEADER_BYTES_V1]
    read = _read_with_magic if head.startswith(LLAMA2C) else _read_v0
    return read(mapped.path, head, mapped.n_bytes)


def _read_v0(path: Path, head: bytes, file_bytes: int) -> Checkpoint:
    if len(head) < _HEADER.size:
        raise FormatError(
            f"{path}: has {len(head)} bytes, expected a header of {_HEADER.size}; it is truncated"
        )
    try:
        config, shared = _config_v0(head)
    except ShapeError as error:
        raise FormatError(f"{path}: {error}; it is not a llama2.c file") from None
    _check_size(path, _implied_bytes(config, shared), file_bytes)
    _check_layers(path, config)
    layout = _Layout(config, shared, _HEADER.size)
    layout.place("token_embedding")
    layout.place_layers(_LAYER_KINDS_V0)
    layout.place("final_norm")
    tables = Section("rotation tables (not used)", layout.offset, _table_bytes(config))
    layout.offset += tables.n_bytes
    if not shared:
        layout.place("output")
    return Checkpoint(
        format="llama2.c v0",
        recognized_by="seven sizes that call for exactly the bytes this file has",
        paths=(path,),
        config=config,
        tensors=layout.tensors,
        sections=(Section("header", 0, _HEADER.size), tables),
        metadata={"shared_classifier": shared},
    )


def _read_with_magic(path: Path, head: bytes, file_bytes: int) -> Checkpoint:
    cursor = Cursor(head, path)
    cursor.take(4, "magic")
    version = cursor.i32("version")
    if version not in (1, 2):
        raise FormatError(
            f"{path}: llama2.c version {version}, expected 0, 1 or 2; the file is damaged, or "
            f"newer than this program"
        )
    values: dict[str, Any] = {name: cursor.i32(name) for name in _HEADER_NAMES}
    shared = cursor.integer("u8", "shared classifier") != 0
    try:
        config = ModelConfig(**values, norm_eps=_NORM_EPS)
    except ShapeError as error:
        raise FormatError(f"{path}: {error}; the header is damaged") from None
    group_size = 0
    if version == 2:
        group_size = cursor.count("group size", least=1, at_most=config.dim)
        if config.dim % group_size:
            raise FormatError(
                f"{path}: group size {group_size} does not divide dim {config.dim}, expected "
                f"groups that fill every matrix; the header is damaged"
            )
    _check_size(path, _implied_bytes_with_magic(config, shared, group_size), file_bytes)
    _check_layers(path, config)
    layout = _Layout(config, shared, _HEADER_BYTES_V1, group_size)
    layout.place_layers(_NORMS_V1)
    layout.place("final_norm")
    layout.place("token_embedding")
    layout.place_layers(_MATRICES_V1)
    if not shared:
        layout.place("output")
    return Checkpoint(
        format=f"llama2.c v{version}",
        recognized_by=f"magic {LLAMA2C!r}",
        paths=(path,),
        config=config,
        tensors=layout.tensors,
        sections=(Section("header", 0, _HEADER_BYTES_V1),),
        metadata={"shared_classifier": shared} | ({"group_size": group_size} if group_size else {}),
    )


def llama2c_fields(mapped: MappedFile) -> Iterator[Field]:
    """Every field of one file in order, tensor data as one field each, for the hex view."""
    checkpoint = _read(mapped)
    cursor = Cursor(mapped.mmap[:_HEADER_BYTES_V1], mapped.path, trace=True)
    version = int(checkpoint.format[-1])
    if version > 0:
        cursor.take(4, "magic")
        cursor.i32("version")
    for name in _HEADER_NAMES:
        cursor.i32(name)
    if version > 0:
        cursor.integer("u8", "shared classifier")
    if version == 2:
        cursor.i32("group size")
    yield from cursor.fields or ()
    end = cursor.offset
    specs = [spec for spec in checkpoint.tensors.values() if isinstance(spec, TensorSpec)]
    for spec in sorted(specs, key=lambda spec: spec.offset):
        if spec.offset > end:
            yield Field(end, spec.offset - end, "not used", "")
        if spec.group_size:
            yield Field(spec.offset, spec.n_elements, f"numbers of {spec.name}", "i8")
            start = spec.offset + spec.n_elements
            yield Field(start, spec.end - start, f"scales of {spec.name}", "f32")
        else:
            yield Field(spec.offset, spec.n_bytes, f"data of {spec.name}", "f32")
        end = spec.end


class _Layout:
    """Places tensors one after another, matrices with scales where there is a group size."""

    def __init__(self, config: ModelConfig, shared: bool, offset: int, group_size: int = 0) -> None:
        self.tensors: dict[str, TensorSpec] = {}
        self.offset = offset
        self._group_size = group_size
        self._n_layers = config.n_layers
        self._shapes = config.tensor_shapes(tied_output=shared)

    def place(self, name: str) -> None:
        """Put this tensor next."""
        shape = self._shapes[name]
        n = math.prod(shape)
        if self._group_size and len(shape) == 2:
            spec = TensorSpec(
                name, "i8_scaled", shape, self.offset, n + 4 * n // self._group_size,
                group_size=self._group_size,
            )  # fmt: skip
        else:
            spec = TensorSpec(name, "f32", shape, self.offset, 4 * n)
        self.tensors[name] = spec
        self.offset = spec.end

    def place_layers(self, kinds: tuple[str, ...]) -> None:
        """Put each kind next, for all layers together."""
        for kind in kinds:
            for layer in range(self._n_layers):
                self.place(f"layers.{layer}.{kind}")


def _config_v0(head: bytes) -> tuple[ModelConfig, bool]:
    """Sizes, and whether the output is the embedding: a negative vocab_size means it is not."""
    values = dict(zip(_HEADER_NAMES, _HEADER.unpack_from(head), strict=True))
    shared = values["vocab_size"] > 0
    values["vocab_size"] = abs(values["vocab_size"])
    return ModelConfig(**values, norm_eps=_NORM_EPS), shared


def _table_bytes(config: ModelConfig) -> int:
    return 2 * 4 * config.max_seq_len * (config.head_dim // 2)


def _n_weights(config: ModelConfig, shared: bool) -> int:
    n_per_layer = (
        config.dim * (2 + 2 * config.q_dim + 2 * config.kv_dim) + 3 * config.dim * config.hidden_dim
    )
    n_outside = config.dim * (1 + config.vocab_size * (1 if shared else 2))
    return config.n_layers * n_per_layer + n_outside


def _implied_bytes(config: ModelConfig, shared: bool) -> int:
    return _HEADER.size + 4 * _n_weights(config, shared) + _table_bytes(config)


def _implied_bytes_with_magic(config: ModelConfig, shared: bool, group_size: int) -> int:
    n = _n_weights(config, shared)
    if not group_size:
        return _HEADER_BYTES_V1 + 4 * n
    n_in_norms = config.dim * (2 * config.n_layers + 1)
    n -= n_in_norms
    return _HEADER_BYTES_V1 + 4 * n_in_norms + n + 4 * n // group_size


def _check_size(path: Path, implied: int, file_bytes: int) -> None:
    """Raise FormatError unless the file has exactly the bytes that its header calls for."""
    if implied != file_bytes:
        difference = (
            f"{implied - file_bytes:,} missing" if implied > file_bytes
            else f"{file_bytes - implied:,} too many"
        )  # fmt: skip
        raise FormatError(
            f"{path}: header implies {implied:,} bytes, file has {file_bytes:,} ({difference}); "
            f"download it again"
        )


def _check_layers(path: Path, config: ModelConfig) -> None:
    """Raise FormatError for more layers than can be described in little memory."""
    if config.n_layers > MOST_LAYERS:
        raise FormatError(
            f"{path}: n_layers is {config.n_layers:,}, expected at most {MOST_LAYERS:,}; the "
            f"header is damaged"
        )
