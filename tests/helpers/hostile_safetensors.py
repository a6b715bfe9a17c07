"""Malformed .safetensors files."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable

from helpers.hostile import Case, file_case


def safetensors_bytes(table: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A .safetensors file with this table (bytes are taken as they are), whatever it says."""
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(begin: int, end: int, shape=(2,), dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def _safetensors(name: str, says: str, make: Callable[[], bytes]) -> Case:
    return file_case(name, says, make, ".safetensors")


SAFETENSORS_CASES = [
    _safetensors("3 bytes", "has 3 bytes, expected 8", lambda: b"\x05\0\0"),
    _safetensors(
        "length beyond the file", "length is 99 bytes", lambda: safetensors_bytes({}, length=99)
    ),
    _safetensors(
        "length of 2**64 - 1",
        "length is 18,446,744,073,709,551,615",
        lambda: safetensors_bytes({}, length=2**64 - 1),
    ),
    _safetensors("no table", "length is 0 bytes", lambda: safetensors_bytes(b"")),
    _safetensors(
        "table that is a list", "expected an opening brace", lambda: safetensors_bytes([1])
    ),
    _safetensors("table that is cut", "is not readable JSON", lambda: safetensors_bytes(b'{"a":}')),
    _safetensors(
        "padding of tabs", "expected a closing brace", lambda: safetensors_bytes(b"{}\t\t")
    ),
    _safetensors(
        "padding in front", "expected an opening brace", lambda: safetensors_bytes(b"  {}")
    ),
    _safetensors(
        "not UTF-8", "is not readable JSON", lambda: safetensors_bytes(b'{"\xff\xfe": {}}')
    ),
    _safetensors(
        "a hundred thousand brackets",
        "is not readable JSON",
        lambda: safetensors_bytes(b'{"a":' + b"[" * 10**5 + b"}"),
    ),
    _safetensors("NaN", "NaN is not JSON", lambda: safetensors_bytes(b'{"a": NaN}')),
    _safetensors(
        "a number of 5,000 digits",
        "is not readable JSON",
        lambda: safetensors_bytes(b'{"a": ' + b"9" * 5000 + b"}"),
    ),
    _safetensors(
        "key twice", "key 'a' occurs twice", lambda: safetensors_bytes(b'{"a": {}, "a": {}}')
    ),
    _safetensors(
        "metadata of numbers",
        "__metadata__ is not an object of texts",
        lambda: safetensors_bytes({"__metadata__": {"a": 1}}),
    ),
    _safetensors(
        "entry without shape",
        "expected dtype, shape and data_offsets",
        lambda: safetensors_bytes({"a": {"dtype": "F32"}}),
    ),
    _safetensors(
        "unknown dtype",
        "dtype is 'F31', expected one of",
        lambda: safetensors_bytes({"a": _entry(0, 8, dtype="F31")}, bytes(8)),
    ),
    _safetensors(
        "negative size",
        "expected lists of non-negative whole numbers",
        lambda: safetensors_bytes({"a": _entry(0, 8, (-2,))}, bytes(8)),
    ),
    _safetensors(
        "size true",
        "expected lists of non-negative whole numbers",
        lambda: safetensors_bytes({"a": _entry(0, 4, (True,))}, bytes(4)),
    ),
    _safetensors(
        "size 1.0",
        "expected lists of non-negative whole numbers",
        lambda: safetensors_bytes({"a": _entry(0, 4, (1.0,))}, bytes(4)),
    ),
    _safetensors(
        "elements wrap to 4",
        "expected lists of non-negative whole numbers|bytes for F32",
        lambda: safetensors_bytes(
            {"a": _entry(0, 16, (4194305, 4194305, 211106198978564))}, bytes(16)
        ),
    ),
    _safetensors(
        "end before begin",
        "is at bytes 8 to 0",
        lambda: safetensors_bytes({"a": _entry(8, 0)}, bytes(8)),
    ),
    _safetensors(
        "bytes against the shape",
        "expected 8 bytes for F32",
        lambda: safetensors_bytes({"a": _entry(0, 12)}, bytes(12)),
    ),
    _safetensors(
        "overlap",
        "tensor b begins at byte 4 of the data and overlaps",
        lambda: safetensors_bytes({"a": _entry(0, 8), "b": _entry(4, 12)}, bytes(12)),
    ),
    _safetensors(
        "gap",
        "tensor b begins at byte 12 of the data and leaves a gap",
        lambda: safetensors_bytes({"a": _entry(0, 8), "b": _entry(12, 20)}, bytes(20)),
    ),
    _safetensors(
        "truncated",
        "tensors take 8 bytes, the file has 7",
        lambda: safetensors_bytes({"a": _entry(0, 8)}, bytes(7)),
    ),
    _safetensors(
        "bytes after the end",
        "tensors take 8 bytes, the file has 9",
        lambda: safetensors_bytes({"a": _entry(0, 8)}, bytes(9)),
    ),
    _safetensors(
        "escapes in a name",
        r"such as \\x1b\[31m<script>",
        lambda: safetensors_bytes({"\x1b[31m<script>": _entry(0, 8)}, bytes(8)),
    ),
    _safetensors(
        "9 MiB of table",
        "expected 2 to 8,388,608",
        lambda: safetensors_bytes(b"{" + b" " * 9 * 2**20 + b"}"),
    ),
    _safetensors(
        "8 MB of lists",
        "has more than 131,072 lists and objects",
        lambda: safetensors_bytes(b'{"a":[' + b"[]," * 2_700_000 + b"[]]}"),
    ),
]
