"""A few records of protocol buffers, enough to read and write a sentencepiece model.

A message is a run of fields: a number with a wire type, then a varint, eight bytes, a length and
that many bytes, or four bytes. Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def fields_of(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The number and the value of each field; ValueError where the message is cut off."""
    offset = 0
    while offset < len(message):
        key, offset = _varint(message, offset)
        wire = key & 7
        if wire == _VARINT:
            value, offset = _varint(message, offset)
            yield key >> 3, value
            continue
        n_bytes = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(wire)
        if wire == _LENGTH:
            n_bytes, offset = _varint(message, offset)
        if n_bytes is None or offset + n_bytes > len(message):
            raise ValueError(f"a field at byte {offset} has no end")
        yield key >> 3, message[offset : offset + n_bytes]
        offset += n_bytes


def _varint(message: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if offset >= len(message) or shift > 63:
            raise ValueError(f"a number at byte {offset} has no end")
        byte = message[offset]
        offset += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, offset


def number_field(number: int, value: int) -> bytes:
    """A field that holds a whole number; negative ones as 64 bits."""
    return _packed(number << 3 | _VARINT) + _packed(value % 2**64)


def bytes_field(number: int, value: bytes) -> bytes:
    """A field that holds bytes, a text or a message."""
    return _packed(number << 3 | _LENGTH) + _packed(len(value)) + value


def float_field(number: int, four_bytes: bytes) -> bytes:
    """A field that holds a float32, given as its bytes."""
    return _packed(number << 3 | _FOUR_BYTES) + four_bytes


def _packed(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
