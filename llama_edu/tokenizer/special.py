"""Special pieces in a text: found as a whole before the text between them is cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from llama_edu.tokenizer.protocol import encodable

#: What stands before a part of a text: it decides whether a space is put there.
Before = Literal["nothing", "special", "text"]


class SpecialPieces:
    """Finds pieces by their texts, which are in `ids` with the id of each.

    Where two overlap, the one that begins first wins, and the longest of those (the tokenizers
    library); or the longest of all, the first of those (llama.cpp).
    """

    def __init__(self, ids: Mapping[str, int], *, longest_first: bool = False) -> None:
        """Prepare a search.

        Args:
            ids: text -> id; an empty text is not searched for.
            longest_first: the rule of llama.cpp.
        """
        self.ids: Mapping[str, int] = {text: token for text, token in ids.items() if text}
        self._longest_first = longest_first
        self._lengths = sorted({len(text) for text in self.ids}, reverse=True)
        first = {re.escape(text[0]) for text in self.ids}
        self._may_begin = re.compile("[" + "".join(sorted(first)) + "]") if first else None

    def cut(self, text: str) -> list[str | int]:
        """A text as ids of special pieces and the texts between them, none of them empty."""
        if self._may_begin is None:
            return [text] if text else []
        parts: list[str | int] = []
        end = 0
        for start, length in self._chosen(text):
            if start > end:
                parts.append(text[end:start])
            end = start + length
            parts.append(self.ids[text[start:end]])
        if end < len(text):
            parts.append(text[end:])
        return parts

    def _chosen(self, text: str) -> list[tuple[int, int]]:
        """Start and length of the pieces to use, in order, none of them overlapping."""
        assert self._may_begin is not None
        found = [
            (start.start(), length)
            for start in self._may_begin.finditer(text)
            for length in self._lengths
            if text[start.start() : start.start() + length] in self.ids
        ]
        if self._longest_first:
            found.sort(key=lambda place: (-len(text[place[0] : sum(place)].encode()), place[0]))
        taken = bytearray(len(text))
        chosen = []
        for start, length in found:
            if not any(taken[start : start + length]):
                taken[start : start + length] = b"\1" * length
                chosen.append((start, length))
        return sorted(chosen)


def with_what_precedes(
    parts: Iterable[str | int], search: SpecialPieces
) -> Iterator[tuple[str | int, Before]]:
    """Ids, and texts cut once more, each with what stands before it."""
    before: Before = "nothing"
    for part in parts:
        for inner in [part] if isinstance(part, int) else search.cut(encodable(part)):
            yield inner, before
            before = "special" if isinstance(inner, int) else "text"
