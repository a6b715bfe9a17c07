"""The vocabulary inside a GGUF file, and its pieces as GGUF spells them.

GGUF keeps sentencepiece's spelling: U+2581 for a space, "<0x0A>" for a byte. Byte-level BPE
vocabularies keep GPT-2's spelling. The rest of the program uses plain bytes; both directions of the
translation are here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import overload

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.gguf.header import GgufHeader
from llama_edu.files.gguf.string_array import ByteStrings
from llama_edu.files.vocabularies import byte_level
from llama_edu.files.vocabularies.end_pieces import ends_by_name
from llama_edu.files.vocabularies.spelling import spelled
from llama_edu.text import quoted
from llama_edu.vocabulary import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE_MARK,
    UNKNOWN,
    UNKNOWN_TEXT,
    USER_DEFINED,
    Vocabulary,
    VocabularyModel,
)

_SPACE_MARK = SPACE_MARK.encode()
_BYTE_PIECE = re.compile(rb"<0x([0-9A-F]{2})>")

#: Value of tokenizer.ggml.model -> how the pieces are merged. Others are refused by name.
_MODELS: dict[str, VocabularyModel] = {"llama": "spm", "gpt2": "bpe"}
NO_VOCABULARY = ("no_vocab", "none")

#: Pre-tokenizers that imply add_bos_token where the key is missing (llama-vocab.cpp of llama.cpp).
_BOS_BY_PRE_TOKENIZER = ("llama3", "llama-v3", "llama-bpe", "falcon3")

#: Special tokens, as the keys of their ids name them.
_SPECIAL = ("bos", "eos", "unknown")

#: How files say "there is no such token"; the last is what we write.
_NO_TOKEN = (-1, 2**32 - 1)
NO_TOKEN = _NO_TOKEN[-1]


class GgufPieces(Sequence[bytes]):
    """The pieces of a GGUF vocabulary as plain bytes, each created on access.

    `stored` keeps the file's own spelling, from which a GGUF file is written without loss.
    """

    def __init__(self, stored: ByteStrings, kinds: np.ndarray, model: VocabularyModel) -> None:
        self.stored = stored
        self._kinds = kinds
        self._piece = _bpe_piece if model == "bpe" else _spm_piece

    def __len__(self) -> int:
        return len(self.stored)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._piece(self.stored[index], self._kinds[index])

    def __iter__(self) -> Iterator[bytes]:
        """All pieces in order, several times as fast as by index."""
        return map(self._piece, self.stored, self._kinds.tolist())


def _spm_piece(stored: bytes, kind: int) -> bytes:
    if kind == CONTROL:
        return b""
    if kind == UNKNOWN:
        return UNKNOWN_TEXT
    if kind == BYTE:
        return bytes([int(stored[3:5], 16)])  # its form was checked when the file was opened
    return stored.replace(_SPACE_MARK, b" ")


def _bpe_piece(stored: bytes, kind: int) -> bytes:
    if kind in (CONTROL, USER_DEFINED, UNKNOWN):
        return stored
    piece = byte_level.to_bytes(stored.decode("utf-8", "replace"))
    return stored if piece is None else piece


def why_not_understood(header: GgufHeader) -> str:
    """Why text cannot be encoded for this file, of which all else can be read; "" where it can."""
    stated = header.text("tokenizer.ggml.model", NO_VOCABULARY[0])
    if stated in NO_VOCABULARY or stated in _MODELS:
        return ""
    return (
        f"{header.path}: tokenizer.ggml.model is {quoted(stated)}, expected llama or gpt2; this "
        f"package cannot encode text for it; give a tokenizer with --tokenizer FILE"
    )


def read_gguf_vocabulary(header: GgufHeader) -> Vocabulary | None:
    """The vocabulary in a header, or None if it has none.

    Raises:
        FormatError: tokens, scores and types differ in number or have a wrong type, or a byte piece
            is malformed. The merging method must be one that `why_not_understood` knows.
    """
    stated = header.text("tokenizer.ggml.model", NO_VOCABULARY[0])
    if stated in NO_VOCABULARY:
        return None
    model = _MODELS[stated]
    is_spm = model == "spm"
    tokens = header.strings("tokenizer.ggml.tokens")
    if not tokens:
        raise header.lacks("tokenizer.ggml.tokens", "an array of string that is not empty")
    kinds = _kinds(header, tokens.raw)
    scores = _scores(header, len(tokens))
    _check_count(header, "token_type", kinds, len(tokens))
    if is_spm:
        _check_byte_pieces(header, tokens.raw, kinds)
    merges = () if is_spm else header.strings("tokenizer.ggml.merges")
    if merges is None:
        raise header.lacks("tokenizer.ggml.merges", "an array of string")
    pre_tokenizer = header.text("tokenizer.ggml.pre", "default")
    defaults = default_ids(model)
    ids = {name: _token_id(header, name, defaults[name], len(tokens)) for name in _SPECIAL}
    charsmap = None
    if is_spm:
        charsmap = header.numbers("tokenizer.ggml.precompiled_charsmap", ("u8", "i8"))
    adds_bos = is_spm or pre_tokenizer in _BOS_BY_PRE_TOKENIZER
    vocabulary = Vocabulary(
        pieces=GgufPieces(tokens.raw, kinds, model),
        scores=scores,
        kinds=kinds,
        model=model,
        unk_id=ids["unknown"],
        bos_id=ids["bos"],
        eos_id=ids["eos"],
        add_bos=header.flag("tokenizer.ggml.add_bos_token", adds_bos) and ids["bos"] >= 0,
        add_space_prefix=header.flag("tokenizer.ggml.add_space_prefix", is_spm),
        add_eos=header.flag("tokenizer.ggml.add_eos_token", False),
        cuts_at_user_defined=True,
        finds_longest_first=True,
        names=_StoredNames(tokens.raw),
        merges=merges,
        pre_tokenizer=pre_tokenizer,
        charsmap=b"" if charsmap is None else charsmap.astype(np.uint8).tobytes(),
        removes_spaces=is_spm and header.flag("tokenizer.ggml.remove_extra_whitespaces", False),
    )
    return _with_ends(header, vocabulary)


def default_ids(model: VocabularyModel) -> dict[str, int]:
    """The ids of special tokens that a file leaves out; -1 where there is none."""
    return {"bos": 1, "eos": 2, "unknown": 0} if model == "spm" else dict.fromkeys(_SPECIAL, -1)


def _scores(header: GgufHeader, n_tokens: int) -> np.ndarray:
    """(n_tokens,) float32; zeros if the file gives none. FormatError for a NaN."""
    scores = header.numbers("tokenizer.ggml.scores", ("f32",))
    if scores is None:
        return np.zeros(n_tokens, np.float32)
    _check_count(header, "scores", scores, n_tokens)
    if np.isnan(scores).any():
        token = int(np.isnan(scores).argmax())
        raise FormatError(
            f"{header.path}: the score of token {token} is not a number; the file is damaged"
        )
    return scores.astype(np.float32, copy=False)


def _check_count(header: GgufHeader, name: str, array: np.ndarray, n_tokens: int) -> None:
    if len(array) != n_tokens:
        raise FormatError(
            f"{header.path}: tokenizer.ggml.{name} has {len(array):,} entries, tokens "
            f"{n_tokens:,}; expected one for each, the file is damaged"
        )


def _token_id(header: GgufHeader, name: str, default: int, n: int) -> int:
    """The id of a special token; -1 where the file says that there is none, or names no piece.

    Conversions of autumn 2023 named the id after the last piece where tokens had been added;
    llama.cpp goes on with a warning.
    """
    key = f"tokenizer.ggml.{name}_token_id"
    token = header.integer(key, default)
    if token in _NO_TOKEN or token >= n:
        return -1
    if token < 0:
        raise FormatError(
            f"{header.path}: {key} is {token:,}, expected 0 to {n - 1:,}; the file is damaged"
        )
    return token


def _kinds(header: GgufHeader, tokens: ByteStrings) -> np.ndarray:
    """(n,) uint8 kinds, derived from the spelling if the file does not give them."""
    key = "tokenizer.ggml.token_type"
    stored = header.numbers(key, ("i32", "u32"))
    if stored is not None:
        if len(stored) and not 0 <= stored.min() <= stored.max() <= BYTE:
            raise FormatError(
                f"{header.path}: {key} has values from {stored.min()} to {stored.max()}, expected "
                f"0 to {BYTE}; the file is damaged"
            )
        kinds = stored.astype(np.uint8)
        kinds[kinds == 0] = NORMAL  # "undefined" in llama.cpp's numbering
        return kinds
    kinds = np.full(len(tokens), NORMAL, np.uint8)
    for token in range(min(len(tokens), 259)):  # <unk>, <s>, </s> and 256 bytes come first
        text = tokens[token]
        if _BYTE_PIECE.fullmatch(text):
            kinds[token] = BYTE
        elif text == b"<unk>":
            kinds[token] = UNKNOWN
        elif text in (b"<s>", b"</s>"):
            kinds[token] = CONTROL
    return kinds


def _check_byte_pieces(header: GgufHeader, tokens: ByteStrings, kinds: np.ndarray) -> None:
    of_bytes = np.flatnonzero(kinds == BYTE)
    if len(of_bytes) > 256:
        raise FormatError(
            f"{header.path}: {len(of_bytes):,} byte pieces, expected at most 256; the file is "
            f"damaged"
        )
    for token in of_bytes.tolist():
        if not _BYTE_PIECE.fullmatch(tokens[token]):
            raise FormatError(
                f"{header.path}: byte piece {token} is {quoted(tokens[token], 40)}, expected <0x "
                f"and two hexadecimal digits and >; the file is damaged"
            )


def gguf_spelling(vocabulary: Vocabulary) -> list[bytes]:
    """Every piece as a GGUF file spells it."""
    if isinstance(vocabulary.pieces, GgufPieces):
        return vocabulary.pieces.stored[:]
    return [spelled(vocabulary, token) for token in range(len(vocabulary))]


class _StoredNames(Mapping[int, bytes]):
    """Id -> the file's own spelling of each piece, read on access."""

    def __init__(self, stored: ByteStrings) -> None:
        self._stored = stored

    def __getitem__(self, token: int) -> bytes:
        if not 0 <= token < len(self._stored):
            raise KeyError(token)
        return self._stored[token]

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._stored)))

    def __len__(self) -> int:
        return len(self._stored)


def named_ends(vocabulary: Vocabulary) -> tuple[int, ...]:
    """Those special pieces that end a text by their names."""
    special = np.flatnonzero(np.isin(vocabulary.kinds, (CONTROL, USER_DEFINED))).tolist()
    return ends_by_name((token, spelled(vocabulary, token)) for token in special)


def _with_ends(header: GgufHeader, vocabulary: Vocabulary) -> Vocabulary:
    """The vocabulary with the ends of a turn and of a message, by key and by name."""
    n = len(vocabulary)
    stated = (_token_id(header, name, -1, n) for name in ("eot", "eom"))
    ends = dict.fromkeys((*stated, *named_ends(vocabulary)))
    others = tuple(token for token in ends if token >= 0 and token != vocabulary.eos_id)
    return replace(vocabulary, other_end_ids=others)
