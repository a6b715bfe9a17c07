"""Byte-level pieces: how GPT-2's vocabularies spell any bytes with printable characters.

A piece of a byte-level BPE is a run of bytes. JSON and GGUF store text, so each of the 256 bytes is
written as one character: the printable ones of Latin-1 as themselves, the other 68 as the
characters from U+0100 on. A space is then written U+0120.
Source: `bytes_to_unicode` in encoder.py of openai/gpt-2.
"""

from __future__ import annotations

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHER = [byte for byte in range(256) if byte not in _PRINTABLE]

#: byte -> character, and back by code point; both for str.translate and for lookups.
CHARACTER_OF = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(0x100 + i) for i, byte in enumerate(_OTHER)
}
_BYTE_OF = {character: byte for byte, character in CHARACTER_OF.items()}


def to_bytes(text: str) -> bytes | None:
    """The bytes that a byte-level piece stands for, or None when a character stands for none."""
    try:
        return bytes([_BYTE_OF[character] for character in text])
    except KeyError:
        return None


def to_text(piece: bytes) -> str:
    """Bytes in byte-level spelling."""
    return piece.decode("latin-1").translate(CHARACTER_OF)
