"""Vocabulary files: which kind is this, and its pieces and scores.

Most weight files carry their own vocabulary, so what reads these files is imported by need.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.layout import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, Vocabulary
from llama_edu.files.mapped import open_weights

#: U+2581, which sentencepiece writes for a space inside a piece.
SPACE_MARK = "\u2581"

#: What sentencepiece decodes its unknown piece to.
UNKNOWN_TEXT = " \u2047 ".encode()


def open_sentencepiece(path: Path):
    """A SentencePieceProcessor on a tokenizer.model file; a FormatError when it is none."""
    from sentencepiece import SentencePieceProcessor  # loads a library: not at import

    with open_weights(path) as file:
        model = file.read()
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
        n_pieces = processor.vocab_size()
    except RuntimeError:
        n_pieces = 0
    if n_pieces == 0:
        raise FormatError(f"{path}: is not a sentencepiece model; give a tokenizer.model file")
    return processor


def sentencepiece_piece(processor, token: int) -> bytes:
    """The bytes that a token of a sentencepiece model adds to a text; empty for BOS and EOS."""
    if processor.is_control(token):
        return b""
    if processor.is_unknown(token):
        return UNKNOWN_TEXT
    text = processor.id_to_piece(token)
    if processor.is_byte(token):
        return bytes([int(text[3:5], 16)])
    return text.replace(SPACE_MARK, " ").encode()


def read_sentencepiece(path: Path) -> Vocabulary:
    """Pieces, scores and kinds of a tokenizer.model, for writing into a weight file."""
    processor = open_sentencepiece(path)
    n = processor.vocab_size()
    kinds = np.full(n, NORMAL, np.uint8)
    for kind, is_kind in (
        (UNKNOWN, processor.is_unknown),
        (CONTROL, processor.is_control),
        (UNUSED, processor.is_unused),
        (BYTE, processor.is_byte),
    ):
        kinds[[token for token in range(n) if is_kind(token)]] = kind
    return Vocabulary(
        pieces=tuple(sentencepiece_piece(processor, token) for token in range(n)),
        scores=np.array([processor.get_score(token) for token in range(n)], np.float32),
        kinds=kinds,
        unk_id=processor.unk_id(),
        bos_id=processor.bos_id(),
        eos_id=processor.eos_id(),
    )


def is_sentencepiece(path: Path) -> bool:
    """Whether a file starts as a sentencepiece model: a protobuf field 1 with its pieces.

    A tokenizer.bin whose longest piece has 10 bytes starts with the same byte.
    """
    from llama_edu.files.llama2c import looks_like_tokenizer_bin

    with open_weights(path) as file:
        head = file.read(64)
    return head[:1] == b"\x0a" and not looks_like_tokenizer_bin(head, path.stat().st_size)


def read_vocabulary(path: Path, vocab_size: int | None = None) -> Vocabulary:
    """The vocabulary in a tokenizer.model, a tokenizer.json or a llama2.c tokenizer.bin.

    Raises:
        FormatError: none of them, or not of the size that the model needs.
    """
    from llama_edu.files.llama2c import looks_like_tokenizer_bin, read_tokenizer_bin

    if is_sentencepiece(path):
        return read_sentencepiece(path)
    with open_weights(path) as file:
        head = file.read(64)
    if looks_like_tokenizer_bin(head, path.stat().st_size):
        return read_tokenizer_bin(path, vocab_size)
    if head.lstrip().startswith(b"{"):
        from llama_edu.files.tokenizer_json import read_tokenizer_json  # it imports this module

        return read_tokenizer_json(path)
    raise FormatError(
        f"{path}: starts with {head[:8]!r}, expected a sentencepiece tokenizer.model, a "
        f"tokenizer.json or a llama2.c tokenizer.bin"
    )
