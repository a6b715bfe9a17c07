"""What every byte of a GGUF file is for: sections for `inspect`, named fields for the hex view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.cursor import Cursor
from llama_edu.files.fields import Field, shown
from llama_edu.files.gguf.header import GgufHeader, read_header
from llama_edu.files.gguf.string_array import Texts
from llama_edu.files.gguf.values import Entry
from llama_edu.files.layout import Section
from llama_edu.files.mapped import MappedFile
from llama_edu.text import one_line


def gaps_between_tensors(header: GgufHeader) -> int:
    """Bytes between tensors beyond what alignment needs; FormatError if two overlap."""
    gaps_bytes, end, before = 0, 0, ""
    for info in sorted(header.infos, key=lambda info: (info.offset, info.n_bytes)):
        if info.n_bytes == 0:
            continue
        if info.offset < end:
            raise FormatError(
                f"{header.path}: tensors {before} and {info.name} overlap by "
                f"{end - info.offset:,} bytes; the file is damaged"
            )
        gaps_bytes += info.offset - -(-end // header.alignment) * header.alignment
        end, before = info.offset + info.n_bytes, info.name
    return gaps_bytes


def sections_of(header: GgufHeader, file: int) -> Iterator[Section]:
    """All bytes outside tensors, in order; sections of later files include the file's number."""
    of_file = f" (file {file + 1})" if file else ""

    def section(name: str, start: int, end: int) -> Iterator[Section]:
        if end > start:
            yield Section(name + of_file, start, end - start)

    yield from section("header", 0, header.metadata_offset)
    start, kind = header.metadata_offset, ""
    previous_end = start
    for key, entry in header.entries.items():
        this = "vocabulary" if key.startswith("tokenizer.ggml.") else "metadata"
        if this != kind:
            yield from section(kind, start, previous_end)
            start, kind = previous_end, this
        previous_end = entry.offset + entry.n_bytes
    yield from section(kind, start, header.infos_offset)
    yield from section("tensor infos", header.infos_offset, header.infos_end)
    end = header.infos_end
    for info in sorted(header.infos, key=lambda info: info.offset):
        start = header.data_offset + info.offset
        yield from section("padding", end, start)
        end = max(end, start + info.n_bytes)
    aligned = min(-(-end // header.alignment) * header.alignment, header.n_bytes)
    yield from section("padding", end, aligned)
    yield from section("trailing", aligned, header.n_bytes)


def gguf_fields(mapped: MappedFile) -> Iterator[Field]:
    """Every field of one GGUF file in order, for an annotated hex view; one field per tensor.

    Elements of arrays are created while iterating. If the header is damaged, raises FormatError
    after the fields that could be read.
    """
    error, header = None, None
    cursor = Cursor(mapped.data, mapped.path, trace=True)
    try:
        header = read_header(mapped.data, mapped.path, cursor)
    except FormatError as found:
        error = found.with_traceback(None)
    entries: Mapping[str, Entry] = header.entries if header else {}
    arrays = {e.offset + e.n_bytes: (k, e) for k, e in entries.items() if e.type[:5] == "array"}
    for field in cursor.fields or ():
        key, entry = arrays.get(field.end, ("", None))
        if header is not None and entry is not None and " x " in field.name:
            yield from _elements(field, one_line(key), entry, header)
        else:
            yield field
    if error is not None:
        raise error
    assert header is not None
    gaps_between_tensors(header)  # FormatError if two tensors overlap
    end = header.infos_end
    for info in sorted(header.infos, key=lambda info: info.offset):
        start = header.data_offset + info.offset
        if start > end:
            yield Field(end, start - end, "padding", "")
        if info.n_bytes:
            yield Field(start, info.n_bytes, one_line(info.name), f"{info.type} {info.shape}")
        end = max(end, start + info.n_bytes)
    if header.n_bytes > end:
        yield Field(end, header.n_bytes - end, "padding or trailing bytes", "")


def _elements(field: Field, key: str, entry: Entry, header: GgufHeader) -> Iterator[Field]:
    """The elements of one array, each with its index."""
    if isinstance(entry.value, Texts):
        length_bytes = 4 if header.version == 1 else 8
        for i, (start, end) in enumerate(entry.value.raw.spans()):
            at = field.offset + start
            text_bytes = end - start - length_bytes
            yield Field(at, length_bytes, f"{key}[{i}]: length", str(text_bytes))
            if text_bytes:
                yield Field(
                    at + length_bytes, text_bytes, f"{key}[{i}]: text", shown(entry.value.raw[i])
                )
    elif isinstance(entry.value, np.ndarray):
        n_bytes = entry.value.dtype.itemsize
        for i, value in enumerate(entry.value):
            yield Field(field.offset + i * n_bytes, n_bytes, f"{key}[{i}]", str(value))
