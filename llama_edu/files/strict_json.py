"""JSON from an untrusted file: one object, and every failure a sentence.

Tables of tensors are strict, as in the safetensors library: no key twice, no NaN. Settings are read
as Python's json module reads them for transformers: the last of two equal keys counts, and NaN and
Infinity are numbers. A byte order mark is passed over.
"""

from __future__ import annotations

import json
from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files.mapped import open_weights
from llama_edu.text import quoted

#: The largest JSON in bytes that is parsed. The table of the largest LLaMA is below 1 MB.
#: (safetensors itself allows 100 MB.)
MAX_JSON_BYTES = 8 * 2**20

#: The largest number of opening brackets and braces that is parsed: "[]," takes three bytes on disk
#: and a hundred in memory. A table has three for each tensor.
MAX_BRACKETS = 2**17


def parse_object(
    text: bytes,
    where: object,
    most_bytes: int = MAX_JSON_BYTES,
    most_brackets: int = MAX_BRACKETS,
    *,
    strict: bool = True,
) -> dict[str, object]:
    """The object in a JSON text. FormatError, beginning with `where`, for anything else."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for name, value in pairs:
            if name in found:
                raise ValueError(f"key {quoted(name, 80)} occurs twice")
            found[name] = value
        return found

    def refuse(word: str) -> object:
        raise ValueError(f"{word} is not JSON")

    if len(text) > most_bytes:
        raise FormatError(
            f"{where}: has more than {most_bytes:,} bytes of JSON; the file is damaged"
        )
    if text.count(b"[") + text.count(b"{") > most_brackets:
        raise FormatError(
            f"{where}: has more than {most_brackets:,} lists and objects; the file is damaged"
        )
    try:
        if strict:
            value = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
        else:
            value = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: is not readable JSON ({error}); the file is damaged") from None
    if not isinstance(value, dict):
        raise FormatError(f"{where}: holds a JSON {type(value).__name__}, expected an object")
    return value


def read_object(
    path: Path,
    most_bytes: int = MAX_JSON_BYTES,
    most_brackets: int = MAX_BRACKETS,
    *,
    strict: bool = True,
) -> dict[str, object]:
    """The object in a JSON file. FormatError if there is no such file or no such object."""
    with open_weights(path) as file:
        n_bytes = min(most_bytes, path.stat().st_size) + 1  # read(n) allocates n bytes
        return parse_object(file.read(n_bytes), path, most_bytes, most_brackets, strict=strict)
