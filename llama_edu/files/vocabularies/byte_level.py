"""Byte-level BPE vocabularies: how their pieces are spelled, and how text is cut before merging.

A piece is a run of bytes. JSON and GGUF store text, so each of the 256 bytes is written as one
character: the printable ones of Latin-1 as themselves, the other 68 as the characters from U+0100
on. A space is then written as U+0120. Before merging, a pattern cuts a text into words, numbers and
runs of spaces; a GGUF file only names its pattern.
Source: `bytes_to_unicode` in encoder.py of openai/gpt-2.
"""

from __future__ import annotations

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHER = [byte for byte in range(256) if byte not in _PRINTABLE]

#: byte -> character.
CHARACTER_OF = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(0x100 + i) for i, byte in enumerate(_OTHER)
}
_BYTE_OF = {character: byte for byte, character in CHARACTER_OF.items()}

_ENDINGS = r"'s|'t|'re|'ve|'m|'ll|'d"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = rf"{_ENDINGS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"(?i:{_ENDINGS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"(?i:{_ENDINGS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}"

#: Name in a GGUF file -> patterns, applied one after another. Sources: encoder.py of openai/gpt-2;
#: tokenizer.py of meta-llama/llama3; the table of names in llama-vocab.cpp of llama.cpp.
PRE_TOKENIZERS: dict[str, tuple[str, ...]] = {
    "gpt-2": (_GPT2,),
    "llama-bpe": (_LLAMA3,),
    "llama3": (_LLAMA3,),
    "llama-v3": (_LLAMA3,),
    "qwen2": (_QWEN2,),
    "smollm": (r"\p{N}", _GPT2),
    "starcoder": (r"\p{N}", _GPT2),
}

#: Names for which a cut that is itself a piece is kept whole, even if no merges lead to it.
WHOLE_PIECES_FIRST = ("llama-bpe", "llama3", "llama-v3")


def to_bytes(text: str) -> bytes | None:
    """The bytes that a byte-level piece stands for, or None if a character stands for no byte."""
    try:
        return bytes([_BYTE_OF[character] for character in text])
    except KeyError:
        return None


def to_text(piece: bytes) -> str:
    """Bytes in byte-level spelling."""
    return piece.decode("latin-1").translate(CHARACTER_OF)
