"""Reading llama.cpp's file formats from March to August 2023: ggml, ggmf and ggjt.

One header, one vocabulary, then one record after another until the file ends. ggjt ("jt" are the
initials of the change's author) adds the one thing that mapping needs: padding, so that every
tensor's data starts at a multiple of 32 bytes.

The reference for what these files leave open is llama.cpp of each version's date (llama.cpp,
`llama_model_load`): RoPE's base is 10,000, the epsilon of the norms 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llama_edu.config import ModelConfig, hidden_dim_by_rule
from llama_edu.errors import FormatError, ShapeError
from llama_edu.files.cursor import Cursor
from llama_edu.files.fields import Field
from llama_edu.files.ggml.header import ALIGNMENT, TYPE_IDS, Header, read_header
from llama_edu.files.layout import (
    Checkpoint,
    Section,
    ShardedTensor,
    TensorSpec,
    n_bytes_for,
)
from llama_edu.files.magic_numbers import GGML
from llama_edu.files.mapped import MappedFile, OpenFiles
from llama_edu.files.parts.shards import check_shards_agree, sharded
from llama_edu.files.vocabularies.detect import find_tokenizer
from llama_edu.files.weights import check_tensors, our_name
from llama_edu.text import one_line
from llama_edu.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, Vocabulary

#: These files do not store the context. LLaMA's was 2048; the programs' default was 512.
_MAX_SEQ_LEN = 2048
_LONGEST_PIECE_BYTES = 65536

#: The largest vocabulary in bytes and number of shards that are read; LLaMA had at most 8 shards.
_LARGEST_VOCABULARY_BYTES, _MOST_SHARDS = 32 * 2**20, 64

_LONGEST_NAME_BYTES = 256


@dataclass(frozen=True)
class _Shard:
    """What one file contains, read to its end."""

    header: Header
    header_bytes: int
    vocabulary_bytes: int
    vocabulary: Vocabulary
    records: dict[str, TensorSpec]
    ignored: tuple[str, ...]
    padding_bytes: int


def read_ggml(path: Path, files: OpenFiles) -> Checkpoint:
    """The checkpoint in a ggml, ggmf or ggjt file and its further shards (.1, .2 ...).

    Raises:
        FormatError: truncated, damaged, a shard is missing, or the shards disagree.
    """
    first = _read_shard(files.open(path), 0)
    header = first.header
    paths = _shard_paths(path, first)
    shards = [first, *(_read_shard(files.open(p), i) for i, p in enumerate(paths[1:], start=1))]
    _check_same_model(shards, paths)
    config = _config(header, first.records, len(shards), path)
    tensors: dict[str, TensorSpec | ShardedTensor] = {**first.records}
    if len(shards) > 1:
        of_all = {name: [shard.records[name] for shard in shards] for name in first.records}
        tensors = {name: sharded(specs, config.vocab_size) for name, specs in of_all.items()}
    check_tensors(tensors, config, path)
    return Checkpoint(
        format=header.format + (f", {len(shards)} shards" if len(shards) > 1 else ""),
        recognized_by=f"magic {header.magic!r}",
        paths=tuple(paths),
        config=config,
        tensors=tensors,
        vocabulary=first.vocabulary,
        tokenizer_path=None if header.magic != GGML else find_tokenizer(path.parent),
        sections=(
            Section("header", 0, first.header_bytes),
            Section("vocabulary", first.header_bytes, first.vocabulary_bytes),
        ),
        ignored=first.ignored,
        metadata={
            "multiple_of": header.multiple_of, "ftype": header.ftype, "n_rot": header.n_rot,
            "padding_bytes": first.padding_bytes,
        },
        assumed=dict.fromkeys(
            ("max_seq_len", "norm_eps", "rope_theta"), "the format has no field for it; LLaMA 1's"
        ),
    )  # fmt: skip


def _shard_paths(path: Path, first: _Shard) -> list[Path]:
    """All files of a checkpoint; their number follows from the embedding's columns."""
    dim, embedding = first.header.dim, first.records.get("token_embedding")
    if embedding is None or len(embedding.shape) != 2 or embedding.shape[1] == 0:
        raise FormatError(f"{path}: has no token embedding; the file is incomplete")
    n_shards = max(1, dim // embedding.shape[1])
    if n_shards > _MOST_SHARDS:
        raise FormatError(
            f"{path}: dim is {dim:,} and the embedding has {embedding.shape[1]:,} columns, "
            f"expected at most {_MOST_SHARDS} shards; the file is damaged"
        )
    paths = [path, *(path.with_name(f"{path.name}.{i}") for i in range(1, n_shards))]
    for shard_path in paths:
        if not shard_path.is_file():
            raise FormatError(
                f"{shard_path}: is missing: {path.name} is the first of {n_shards} shards; copy "
                f"the others next to it"
            )
    return paths


def _read_shard(mapped: MappedFile, index: int) -> _Shard:
    cursor = Cursor(mapped.data, mapped.path)
    header = read_header(cursor)
    header_bytes = cursor.offset
    vocabulary = _read_vocabulary(cursor, header)
    vocabulary_bytes = cursor.offset - header_bytes
    records, ignored, padding = _read_records(cursor, header, index)
    return _Shard(
        header, header_bytes, vocabulary_bytes, vocabulary, records, tuple(ignored), padding
    )


def ggml_fields(mapped: MappedFile) -> Iterator[Field]:
    """Every field of one file in order, with one field per tensor's data, for the hex view."""
    cursor = Cursor(mapped.data, mapped.path, trace=True)
    header = read_header(cursor)
    _read_vocabulary(cursor, header)
    _read_records(cursor, header, 0)
    yield from cursor.fields or ()


def _read_vocabulary(cursor: Cursor, header: Header) -> Vocabulary:
    """All pieces; which of them are bytes, control or unknown follows from their ids and bytes."""
    has_scores = header.magic != GGML
    pieces, scores = [], np.zeros(header.vocab_size, np.float32)
    start = cursor.offset
    for token in range(header.vocab_size):
        n_bytes = cursor.u32("length of a vocabulary piece")
        if n_bytes > _LONGEST_PIECE_BYTES:
            raise FormatError(
                f"{cursor.where}: vocabulary piece {token} has {n_bytes:,} bytes, expected at most "
                f"{_LONGEST_PIECE_BYTES:,}; the file is damaged"
            )
        pieces.append(cursor.take(n_bytes, "a vocabulary piece"))
        if has_scores:
            scores[token] = cursor.f32("score of a vocabulary piece")
        if cursor.offset - start > _LARGEST_VOCABULARY_BYTES:
            raise FormatError(
                f"{cursor.where}: its vocabulary takes more than {_LARGEST_VOCABULARY_BYTES:,} "
                f"bytes; the file is damaged"
            )
    kinds = np.full(header.vocab_size, NORMAL, np.uint8)
    kinds[:1] = UNKNOWN
    kinds[1:3] = CONTROL
    for token in range(3, min(259, header.vocab_size)):
        if pieces[token] == bytes([token - 3]):
            kinds[token] = BYTE
    return Vocabulary(tuple(pieces), scores, kinds)


def _read_records(
    cursor: Cursor, header: Header, index: int
) -> tuple[dict[str, TensorSpec], list[str], int]:
    """Every tensor record to the end of the file; no data is read.

    Returns:
        Our name -> TensorSpec, the stored names of tensors that the model does not use, and the
        number of padding bytes.
    """
    records: dict[str, TensorSpec] = {}
    ignored: dict[str, None] = {}
    padding_bytes = 0
    most = 10 * (header.n_layers + 1)  # per layer nine and its rotations; outside, fewer than ten
    while not cursor.at_end:
        if len(records) + len(ignored) == most:
            layers = f"{header.n_layers} layer{'s' if header.n_layers > 1 else ''}"
            raise FormatError(
                f"{cursor.where}: has more than {most} tensors, too many for {layers}; the file is "
                f"damaged"
            )
        stored, n_padding = _read_record(cursor, header, index)
        padding_bytes += n_padding
        name = our_name(stored.stored_name, "meta", cursor.where)
        if name in records or stored.stored_name in ignored:
            shown = one_line(stored.stored_name)
            raise FormatError(f"{cursor.where}: has two tensors {shown}; the file is damaged")
        if name is None:
            ignored[stored.stored_name] = None
        else:
            records[name] = replace(stored, name=name)
    return records, list(ignored), padding_bytes


def _read_record(cursor: Cursor, header: Header, index: int) -> tuple[TensorSpec, int]:
    """One tensor under its stored name, and the number of padding bytes before its data."""
    n_dims = cursor.count("number of dimensions", least=1, at_most=2)
    name_bytes = cursor.count("length of a tensor name", least=1, at_most=_LONGEST_NAME_BYTES)
    type_id = cursor.i32("type of a tensor")
    dims = [cursor.count("tensor size", least=1, at_most=2**31 - 1) for _ in range(n_dims)]
    name = cursor.take(name_bytes, "tensor name").decode("utf-8", "backslashreplace")
    shown = one_line(name)
    types = TYPE_IDS[max(1, header.version)]
    type_name = types.get(type_id)
    if type_name is None:
        raise FormatError(
            f"{cursor.where}: {shown} has type {type_id}, expected one of "
            f"{', '.join(map(str, types))} in {header.format}"
        )
    n_padding = 0
    if header.aligned:
        n_padding = -cursor.offset % ALIGNMENT
        cursor.skip(n_padding, f"padding before {shown}")
    shape = tuple(reversed(dims))  # the file lists the innermost dimension first
    n_bytes = n_bytes_for(type_name, shape, f"{cursor.where}: {shown}")
    offset = cursor.skip(n_bytes, f"data of {shown}")
    return TensorSpec(name, type_name, shape, offset, n_bytes, index, name), n_padding


def _config(
    header: Header, records: dict[str, TensorSpec], n_shards: int, path: Path
) -> ModelConfig:
    """Sizes from the header; in ggjt v3, hidden_dim and n_kv_heads from the tensors' shapes."""
    gate, wk = records.get("layers.0.w_gate"), records.get("layers.0.wk")
    try:
        hidden_dim = hidden_dim_by_rule(header.dim, header.multiple_of)
        n_kv_heads = header.n_heads
        if header.version == 3 and gate is not None and wk is not None:
            hidden_dim = gate.shape[0] * n_shards
            n_kv_heads = wk.shape[0] * n_shards * header.n_heads // header.dim
        return ModelConfig(
            dim=header.dim, hidden_dim=hidden_dim, n_layers=header.n_layers,
            n_heads=header.n_heads, n_kv_heads=n_kv_heads, vocab_size=header.vocab_size,
            max_seq_len=_MAX_SEQ_LEN,
        )  # fmt: skip
    except ShapeError as error:
        raise FormatError(f"{path}: {error}") from None


def _check_same_model(shards: Sequence[_Shard], paths: Sequence[Path]) -> None:
    """Raise FormatError unless all files have the same header, vocabulary and tensors."""
    first = shards[0]
    for path, shard in zip(paths, shards, strict=True):
        if shard.header != first.header or shard.vocabulary.pieces != first.vocabulary.pieces:
            raise FormatError(
                f"{path}: its header or vocabulary differs from {paths[0].name}; these shards are "
                f"not from one model"
            )
    check_shards_agree([shard.records for shard in shards], paths)
