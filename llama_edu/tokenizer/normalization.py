"""How sentencepiece changes a text before it is cut: letters by a table, then surplus spaces.

The table is a double-array trie of byte strings, whose values are offsets of replacements.
Source: normalizer.cc of google/sentencepiece, `DecodePrecompiledCharsMap` and `NormalizePrefix`.
"""

from __future__ import annotations

import re

import numpy as np

from llama_edu.errors import FormatError


class Normalizer:
    """Replaces the longest strings that the table knows, and takes surplus spaces away.

    Raises FormatError for a table that is cut off or leads outside itself.
    """

    def __init__(self, charsmap: bytes, removes_spaces: bool) -> None:
        self._removes_spaces = removes_spaces
        n_bytes = int.from_bytes(charsmap[:4], "little")
        if charsmap and (n_bytes % 4 or not 0 < n_bytes <= len(charsmap) - 4):
            raise FormatError(
                f"vocabulary: its normalization says {n_bytes:,} bytes of {len(charsmap):,}; the "
                f"file is damaged"
            )
        self._units: list[int] = np.frombuffer(charsmap[4 : 4 + n_bytes], "<u4").tolist()
        self._texts = charsmap[4 + n_bytes :]

    def __call__(self, text: str) -> str:
        """The text as the pieces expect it."""
        if self._units:
            text = self._replaced(text.encode())
        return re.sub(" +", " ", text).strip(" ") if self._removes_spaces else text

    def _replaced(self, data: bytes) -> str:
        out = bytearray()
        position = 0
        while position < len(data):
            length, value = self._longest(data, position)
            if length:
                out += self._texts[value : self._end(value)]
            else:  # one character as it is
                length = 1
                while position + length < len(data) and data[position + length] & 0xC0 == 0x80:
                    length += 1
                out += data[position : position + length]
            position += length
        return out.decode("utf-8", "replace")

    def _longest(self, data: bytes, start: int) -> tuple[int, int]:
        """Length and value of the longest entry that begins here; 0 where there is none."""
        found = (0, 0)
        node = _offset(self._units[0])
        for i in range(start, len(data)):
            node ^= data[i]
            unit = self._unit(node)
            if unit & (1 << 31 | 0xFF) != data[i]:
                break
            node ^= _offset(unit)
            if unit >> 8 & 1:
                found = (i + 1 - start, self._unit(node) & 0x7FFFFFFF)
        return found

    def _unit(self, node: int) -> int:
        if node >= len(self._units):
            raise FormatError(
                "vocabulary: its normalization leads outside its table; it is damaged"
            )
        return self._units[node]

    def _end(self, value: int) -> int:
        end = self._texts.find(b"\0", value)
        if end < 0:
            raise FormatError("vocabulary: its normalization has a text without an end")
        return end


def _offset(unit: int) -> int:
    return unit >> 10 << ((unit & 1 << 9) >> 6)
