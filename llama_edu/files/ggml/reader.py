"""The files of llama.cpp from March to August 2023: ggml, ggmf and ggjt.

One header, one vocabulary, then one record after another until the file ends. ggjt (the "jt" are
the initials of the author of the change) adds the one thing that mapping needs: padding, so that
every tensor's data starts at a multiple of 32 bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
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
    SplitTensor,
    TensorSpec,
    check_tensors,
    n_bytes_for,
)
from llama_edu.files.mapped import open_weights
from llama_edu.files.names import to_ours
from llama_edu.files.shards import split_axis
from llama_edu.files.vocabularies.detect import find_tokenizer
from llama_edu.text import one_line
from llama_edu.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, Vocabulary

#: The context these programs ran with unless told otherwise was 512, and LLaMA's own was 2048.
_MAX_SEQ_LEN = 2048
_LONGEST_PIECE_BYTES = 65536

#: Bytes of a vocabulary, and shards, that are read at all; LLaMA had at most 8 shards.
_LARGEST_VOCABULARY_BYTES, _MOST_PARTS = 32 * 2**20, 64

_LONGEST_NAME_BYTES = 256


@dataclass(frozen=True)
class _Part:
    """One file read to its end."""

    header: Header
    header_bytes: int
    vocabulary_bytes: int
    vocabulary: Vocabulary
    records: dict[str, TensorSpec]
    ignored: tuple[str, ...]
    padding_bytes: int


def read_ggml(path: Path) -> Checkpoint:
    """The checkpoint in a ggml, ggmf or ggjt file, together with its further parts (.1, .2 ...).

    Raises:
        FormatError: truncated, damaged, a part is missing, or the parts disagree.
    """
    first = _read_part(path, 0)
    header = first.header
    embedding = first.records.get("token_embedding")
    if embedding is None or len(embedding.shape) != 2 or embedding.shape[1] == 0:
        raise FormatError(f"{path}: has no token embedding; the file is incomplete")
    n_parts = max(1, header.dim // embedding.shape[1])
    if n_parts > _MOST_PARTS:
        raise FormatError(
            f"{path}: dim is {header.dim:,} and the embedding has {embedding.shape[1]:,} columns, "
            f"expected at most {_MOST_PARTS} parts; the file is damaged"
        )
    paths = [path, *(path.with_name(f"{path.name}.{i}") for i in range(1, n_parts))]
    for part_path in paths:
        if not part_path.is_file():
            raise FormatError(
                f"{part_path}: is missing: {path.name} is the first of {n_parts} parts, copy the "
                f"others beside it"
            )
    parts = [first, *(_read_part(p, i) for i, p in enumerate(paths[1:], start=1))]
    for part_path, part in zip(paths[1:], parts[1:], strict=True):
        _check_same_model(first, part, path, part_path)
    config = _config(header, first.records, n_parts, path)
    tensors = {
        name: spec if n_parts == 1 else _split([part.records[name] for part in parts])
        for name, spec in first.records.items()
    }
    check_tensors(tensors, config, path)
    return Checkpoint(
        format=header.format + (f", {n_parts} parts" if n_parts > 1 else ""),
        recognized_by=f"magic {header.magic!r}",
        paths=tuple(paths),
        config=config,
        tensors=tensors,
        vocabulary=first.vocabulary,
        tokenizer_path=None if header.magic != b"lmgg" else find_tokenizer(path.parent),
        sections=(
            Section("header", 0, first.header_bytes),
            Section("vocabulary", first.header_bytes, first.vocabulary_bytes),
        ),
        ignored=first.ignored,
        metadata={
            "multiple_of": header.multiple_of, "ftype": header.ftype, "n_rot": header.n_rot,
            "padding_bytes": first.padding_bytes,
        },
    )  # fmt: skip


def _read_part(path: Path, index: int) -> _Part:
    with open_weights(path) as file:
        if path.stat().st_size == 0:
            raise FormatError(f"{path}: is empty, expected a weight file; download it again")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            cursor = Cursor(buffer, path)
            header = read_header(cursor)
            header_bytes = cursor.offset
            vocabulary = _read_vocabulary(cursor, header)
            vocabulary_bytes = cursor.offset - header_bytes
            records, ignored, padding = _read_records(cursor, header, index)
    return _Part(
        header, header_bytes, vocabulary_bytes, vocabulary, records, tuple(ignored), padding
    )


def ggml_fields(path: Path) -> Iterator[Field]:
    """Every field of one file in order, tensor data as one field each, for the hex view."""
    with open_weights(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        cursor = Cursor(buffer, path, trace=True)
        header = read_header(cursor)
        _read_vocabulary(cursor, header)
        _read_records(cursor, header, 0)
    yield from cursor.fields or ()


def _read_vocabulary(cursor: Cursor, header: Header) -> Vocabulary:
    """All pieces; which of them are bytes, control or unknown follows from their ids."""
    has_scores = header.magic != b"lmgg"
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
    """Every tensor record to the end of the file; no data is read."""
    types = TYPE_IDS[max(1, header.version)]
    records: dict[str, TensorSpec] = {}
    ignored: dict[str, None] = {}
    padding_bytes = 0
    most = 10 * (header.n_layers + 1)  # nine a layer and its rotations, three outside and theirs
    while not cursor.at_end:
        if len(records) + len(ignored) == most:
            layers = f"{header.n_layers} layer{'s' if header.n_layers > 1 else ''}"
            raise FormatError(
                f"{cursor.where}: has more than {most} tensors, too many for {layers}; the file is "
                f"damaged"
            )
        n_dims = cursor.count("number of dimensions", least=1, at_most=2)
        name_bytes = cursor.count("length of a tensor name", least=1, at_most=_LONGEST_NAME_BYTES)
        type_id = cursor.i32("type of a tensor")
        dims = [cursor.count("tensor size", least=1, at_most=2**31 - 1) for _ in range(n_dims)]
        stored_name = cursor.take(name_bytes, "tensor name").decode("utf-8", "backslashreplace")
        shown = one_line(stored_name)
        type_name = types.get(type_id)
        if type_name is None:
            raise FormatError(
                f"{cursor.where}: {shown} has type {type_id}, expected one of "
                f"{', '.join(map(str, types))} in {header.format}"
            )
        if header.aligned:
            n_padding = -cursor.offset % ALIGNMENT
            cursor.skip(n_padding, f"padding before {shown}")
            padding_bytes += n_padding
        shape = tuple(reversed(dims))  # the file counts from the innermost
        n_bytes = n_bytes_for(type_name, shape, f"{cursor.where}: {shown}")
        offset = cursor.skip(n_bytes, f"data of {shown}")
        name = to_ours(stored_name, "meta") or stored_name
        if name in records or name in ignored:
            raise FormatError(f"{cursor.where}: has two tensors {shown}; the file is damaged")
        if name != stored_name:
            records[name] = TensorSpec(name, type_name, shape, offset, n_bytes, index, stored_name)
        elif name.endswith("freqs"):
            ignored[name] = None
        else:
            raise FormatError(f"{cursor.where}: has a tensor {shown}, which no LLaMA has")
    return records, list(ignored), padding_bytes


def _config(
    header: Header, records: dict[str, TensorSpec], n_parts: int, path: Path
) -> ModelConfig:
    """Sizes from the header; the two that it lacks (later models needed them) from the shapes."""
    gate, wk = records.get("layers.0.w_gate"), records.get("layers.0.wk")
    try:
        hidden_dim = hidden_dim_by_rule(header.dim, header.multiple_of)
        n_kv_heads = header.n_heads
        if header.version == 3 and gate is not None and wk is not None:
            hidden_dim = gate.shape[0] * n_parts
            n_kv_heads = wk.shape[0] * n_parts * header.n_heads // header.dim
        return ModelConfig(
            dim=header.dim, hidden_dim=hidden_dim, n_layers=header.n_layers,
            n_heads=header.n_heads, n_kv_heads=n_kv_heads, vocab_size=header.vocab_size,
            max_seq_len=_MAX_SEQ_LEN,
        )  # fmt: skip
    except ShapeError as error:
        raise FormatError(f"{path}: {error}") from None


def _check_same_model(first: _Part, part: _Part, path: Path, part_path: Path) -> None:
    if part.header != first.header or part.vocabulary.pieces != first.vocabulary.pieces:
        raise FormatError(
            f"{part_path}: its header or vocabulary differs from {path.name}; these parts are not "
            f"of one model"
        )
    for name, spec in first.records.items():
        other = part.records.get(name)
        if other is None or (other.type, other.shape) != (spec.type, spec.shape):
            found = f"{other.type} {other.shape}" if other else "missing"
            raise FormatError(
                f"{part_path}: {name} is {found}, in {path.name} it is {spec.type} {spec.shape}"
            )
    extra = next((name for name in part.records if name not in first.records), None)
    if extra is not None:
        raise FormatError(f"{part_path}: has {extra}, which {path.name} has not")


def _split(pieces: list[TensorSpec]) -> SplitTensor:
    first, n_parts = pieces[0], len(pieces)
    if len(first.shape) == 1:
        return SplitTensor(first.name, first.type, first.shape, None, tuple(pieces))
    axis = split_axis(first.name)
    rows, columns = first.shape
    shape = (rows * n_parts, columns) if axis == 0 else (rows, columns * n_parts)
    return SplitTensor(first.name, first.type, shape, axis, tuple(pieces))
