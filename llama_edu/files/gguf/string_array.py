"""Arrays of length-prefixed strings, and a fast way to find where each string begins.

A vocabulary of 32,000 pieces is a chain: each length determines where the next length is, so string
500, or the end of the array, is found only by passing the strings before it. One by one in Python
that takes 2 ms for 32,000 strings. Here numpy guesses and then verifies: a short string's length is
a small number in a wide word, so seven zero bytes in a row almost always belong to a length. All
such places are found in one pass over a window. A guess is proved if each guessed string ends
exactly where the next guessed one begins, starting from a known place.
Where the proof fails (empty strings, strings over 255 bytes, zero bytes in a text), the chain is
followed one by one for a while. The result is exact either way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.cursor import ByteOrder, Bytes

#: Bytes examined in one pass: grows from the first to the second while the guesses hold, so a file
#: made to defeat them costs little more than following it one by one.
SMALL_WINDOW, LARGE_WINDOW = 4096, 256 * 1024

#: After a pass that proves fewer strings than this, at least this many are followed one by one, and
#: twice as many each time it happens again.
FEW = 64


def string_starts(
    data: Bytes, offset: int, count: int, *, length_bytes: int, order: ByteOrder, where: str
) -> tuple[np.ndarray, int]:
    """Where each string of an array begins, and where the array ends.

    Args:
        data: the file.
        offset: first byte of the first string's length.
        count: number of strings; the caller has checked that count * length_bytes bytes are left.
        length_bytes: 4 or 8.
        order: "<" or ">".
        where: the start of every error message.
    Returns:
        ((count,) int64 offsets of the lengths, offset of the first byte after the array).
    Raises:
        FormatError: a string extends beyond the end of the file.
    """
    starts = np.empty(count, np.int64)
    done, window, n_careful = 0, SMALL_WINDOW, FEW
    while done < count:
        proved, after = _prove_many(data, offset, window, length_bytes, order)
        proved = proved[: count - done]
        if len(proved) < FEW:
            n = min(n_careful, count - done)
            n_careful = min(2 * n_careful, SMALL_WINDOW)
            one_by_one = _follow(data, offset, n, length_bytes, order, where, done)
            starts[done : done + n] = one_by_one[:-1]
            done, offset, window = done + n, one_by_one[-1], SMALL_WINDOW
            continue
        starts[done : done + len(proved)] = proved
        done += len(proved)
        if done == count:  # the pass may have proved strings beyond this array
            after = _follow(data, int(proved[-1]), 1, length_bytes, order, where, done - 1)[-1]
        offset, window, n_careful = after, min(2 * window, LARGE_WINDOW), FEW
    return starts, offset


def _prove_many(
    data: Bytes, offset: int, window: int, length_bytes: int, order: ByteOrder
) -> tuple[np.ndarray, int]:
    """Starts of the strings from `offset` on that one pass proves, and the end of the last one."""
    raw = np.frombuffer(data[offset : offset + window], np.uint8)
    zero_run = raw == 0
    for step in (1, 2, 3) if length_bytes == 8 else (1, 1):  # 2 4 7, or 2 3, zeros in a row
        zero_run = zero_run[:-step] & zero_run[step:]
    low_byte = 0
    if order == "<":
        zero_run = zero_run[1:]  # the zeros follow the low byte
    else:
        low_byte = length_bytes - 1  # the zeros precede it
        zero_run = zero_run[: max(0, len(raw) - low_byte)]
    guessed = np.flatnonzero(zero_run)
    if len(guessed) == 0 or guessed[0] != 0:
        return guessed[:0], offset
    ends = guessed + length_bytes + raw[guessed + low_byte]
    holds = ends[:-1] == guessed[1:]
    n_proved = 1 + (len(holds) if holds.all() else int(holds.argmin()))
    after = offset + int(ends[n_proved - 1])
    if after > len(data):  # the last one reaches too far: leave it, and its error, to _follow
        n_proved -= 1
        after = offset + int(ends[n_proved - 1]) if n_proved else offset
    return guessed[:n_proved] + offset, after


def _follow(
    data: Bytes,
    offset: int,
    n: int,
    length_bytes: int,
    order: ByteOrder,
    where: str,
    index: int,
) -> list[int]:
    """Starts of the next n strings, one by one, and the end of the last: n + 1 offsets."""
    unpack = struct.Struct(order + ("Q" if length_bytes == 8 else "I")).unpack
    end = len(data)
    offsets = [offset]
    for i in range(n):
        if end - offset < length_bytes:
            raise FormatError(
                f"{where}: string {index + i:,} at byte {offset:,} needs {length_bytes} bytes for "
                f"its length, {end - offset:,} are left; the file is truncated or damaged"
            )
        (length,) = unpack(data[offset : offset + length_bytes])
        offset += length_bytes + length
        if offset > end:
            raise FormatError(
                f"{where}: string {index + i:,} has a length of {length:,} bytes, "
                f"{end - offset + length:,} are left; the file is truncated or damaged"
            )
        offsets.append(offset)
    return offsets


class ByteStrings(Sequence[bytes]):
    """The strings of an array, each created on access from one copied run of bytes.

    Args:
        raw: the array as stored, including the lengths.
        starts: (n,) offsets of the lengths, counted from the start of `raw`.
        terminated: whether a string may include a NUL at its end, as in files of August 2023.
    """

    def __init__(
        self, raw: bytes, starts: np.ndarray, length_bytes: int, *, terminated: bool = False
    ) -> None:
        self._raw = raw
        self._starts = starts
        self._length_bytes = length_bytes
        self._terminated = terminated

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[bytes]:
        """All strings in order, several times as fast as by index."""
        starts = self._starts.tolist()
        ends = [*starts[1:], len(self._raw)]
        for start, end in zip(starts, ends, strict=False):  # one end too many for an empty array
            yield self._text(start, end)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Start and end of each string with its length, counted from the start of the array."""
        for i, start in enumerate(self._starts):
            yield int(start), int(self._starts[i + 1]) if i + 1 < len(self) else len(self._raw)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"string {index} of {n}")
        index %= n
        end = int(self._starts[index + 1]) if index + 1 < n else len(self._raw)
        return self._text(int(self._starts[index]), end)

    def _text(self, start: int, end: int) -> bytes:
        text = self._raw[start + self._length_bytes : end]
        return text[:-1] if self._terminated and len(text) > 1 and text[-1] == 0 else text


class Texts(Sequence[str]):
    """Byte strings as text, decoded on access; bytes that are not UTF-8 become U+FFFD."""

    def __init__(self, raw: ByteStrings) -> None:
        self.raw = raw

    def __len__(self) -> int:
        return len(self.raw)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [text.decode("utf-8", "replace") for text in self.raw[index]]
        return self.raw[index].decode("utf-8", "replace")
