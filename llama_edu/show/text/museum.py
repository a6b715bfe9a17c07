"""One line for each of several weight files: how each format stores the same model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llama_edu.errors import RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.ggml.header import ALIGNMENT
from llama_edu.files.layout import Checkpoint, ShardedTensor
from llama_edu.table import lay_out
from llama_edu.text import quoted
from llama_edu.vocabulary import Vocabulary


@dataclass(frozen=True)
class Exhibit:
    """What one file states about itself, and how.

    Attributes:
        name: of the file. format: with its version.
        magic: the first four bytes.
        alignment: the largest power of two, up to 32, that divides the offsets of all tensors.
        has_scores: whether the vocabulary has scores, which say what to merge first.
        pieces: the bytes that spell the chosen tokens in this file, undecoded.
    """

    name: str
    format: str
    magic: bytes
    n_bytes: int
    alignment: int
    has_scores: bool
    pieces: tuple[bytes, ...]


def exhibit(path: Path, tokens: Sequence[int]) -> Exhibit:
    """Describe one file; no weight is read.

    Raises:
        RequestError: the file has no vocabulary, lacks one of the tokens, or is one of several
            shards.
        FormatError: it cannot be opened.
    """
    checkpoint = read_checkpoint(path)
    vocabulary = checkpoint.vocabulary
    if checkpoint.is_sharded or vocabulary is None:
        raise RequestError(f"{path}: expected a checkpoint in one file, with its vocabulary")
    for token in tokens:
        if not 0 <= token < len(vocabulary):
            raise RequestError(f"{path}: token {token}, expected 0 to {len(vocabulary) - 1}")
    with checkpoint.paths[0].open("rb") as file:
        magic = file.read(4)
    return Exhibit(
        name=checkpoint.paths[0].name,
        format=checkpoint.format,
        magic=magic,
        n_bytes=checkpoint.paths[0].stat().st_size,
        alignment=alignment_of(checkpoint),
        has_scores=bool(vocabulary.scores.any()),
        pieces=tuple(_as_stored(checkpoint, vocabulary, token) for token in tokens),
    )


def alignment_of(checkpoint: Checkpoint) -> int:
    """The largest power of two, up to 32, that divides the offsets of all tensors."""
    offsets = []
    for tensor in checkpoint.tensors.values():
        shards = tensor.shards if isinstance(tensor, ShardedTensor) else (tensor,)
        offsets += [shard.offset for shard in shards]
    return math.gcd(ALIGNMENT, *offsets)  # no format promises more; more would be chance


def _as_stored(checkpoint: Checkpoint, vocabulary: Vocabulary, token: int) -> bytes:
    """The bytes of a piece in the file; the vocabulary of a GGUF file holds them decoded."""
    texts = checkpoint.metadata.get("tokenizer.ggml.tokens")
    return texts[token].encode() if isinstance(texts, Sequence) else vocabulary.pieces[token]


def museum(paths: Sequence[Path], tokens: Sequence[int]) -> str:
    """A table of weight files, one line each.

    Args:
        tokens: ids of the pieces whose spelling is to be shown.
    Raises:
        RequestError, FormatError: as `exhibit`.
    """
    heads = ("format", "magic", "bytes", "aligned", "scores", *(f"token {t}" for t in tokens))
    rows = [
        (
            found.format, quoted(found.magic), found.n_bytes,
            f"to {found.alignment}" if found.alignment > 1 else "no",
            "yes" if found.has_scores else "no", *map(quoted, found.pieces),
        )
        for found in (exhibit(path, tokens) for path in paths)
    ]  # fmt: skip
    return lay_out(heads, rows, align="<")
