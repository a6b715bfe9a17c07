"""llama2.c's .bin format: where each weight is, which follows from the sizes alone.

Version 0 stores every weight as float32, all layers of one kind together. Version 1 has another
order. Version 2 keeps matrices as int8 with a float32 scale for each group of numbers, all scales
of a matrix after all its numbers.
Source, and the reference for what the files leave open (RoPE's base 10,000, the epsilon 1e-5):
`export.py`, `run.c` and `runq.c` of karpathy/llama2.c.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files.cursor import Cursor
from llama_edu.files.fields import Field
from llama_edu.files.layout import MOST_LAYERS, Checkpoint, Section, TensorSpec
from llama_edu.files.llama2c.header import (
    PADDED_BYTES,
    SIZE_NAMES,
    Header,
    read_fields,
    read_header,
)
from llama_edu.files.magic_numbers import LLAMA2C
from llama_edu.files.mapped import MappedFile, OpenFiles

#: The order of version 0: each kind of weight for all layers together.
_LAYER_KINDS_V0 = ("attention_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w_gate", "w_down", "w_up")

#: Versions 1 and 2 put the norms first, then the matrices.
_NORMS_V1 = ("attention_norm", "ffn_norm")
_MATRICES_V1 = ("wq", "wk", "wv", "wo", "w_gate", "w_down", "w_up")


def read_llama2c(path: Path, files: OpenFiles) -> Checkpoint:
    """The checkpoint in a file of version 0, 1 or 2. Its tokenizer is a separate file.

    Raises:
        FormatError: the header is damaged, or its sizes imply another file size.
    """
    header = _checked_header(files.open(path))
    tensors, tables = _placed(header)
    by_arithmetic = "seven sizes that call for exactly the bytes this file has"
    return Checkpoint(
        format=f"llama2.c v{header.version}",
        recognized_by=f"magic {LLAMA2C!r}" if header.version else by_arithmetic,
        paths=(path,),
        config=header.config,
        tensors=tensors,
        sections=(Section("header", 0, header.n_bytes), *tables),
        metadata={"shared_classifier": header.tied_output}
        | ({"group_size": header.group_size} if header.group_size else {}),
        assumed=dict.fromkeys(("norm_eps", "rope_theta"), "a constant of llama2.c's run.c"),
    )


def _checked_header(mapped: MappedFile) -> Header:
    """The header of a file, checked against the file's size."""
    path = mapped.path
    header = read_header(mapped.data[:PADDED_BYTES], path)
    implied, file_bytes = header.file_bytes, mapped.n_bytes
    if implied != file_bytes:
        difference = (
            f"{implied - file_bytes:,} missing" if implied > file_bytes
            else f"{file_bytes - implied:,} too many"
        )  # fmt: skip
        raise FormatError(
            f"{path}: header implies {implied:,} bytes, file has {file_bytes:,} ({difference}); "
            f"download it again"
        )
    if header.config.n_layers > MOST_LAYERS:
        raise FormatError(
            f"{path}: n_layers is {header.config.n_layers:,}, expected at most {MOST_LAYERS:,}; "
            f"the header is damaged"
        )
    return header


def _placed(header: Header) -> tuple[dict[str, TensorSpec], list[Section]]:
    """Every weight in the order of its version, and the rotation tables of version 0."""
    layout = _Layout(header)
    tables = []
    if header.version == 0:
        layout.place("token_embedding")
        layout.place_layers(_LAYER_KINDS_V0)
        layout.place("final_norm")
        tables.append(layout.skip("rotation tables (not used)", header.table_bytes))
    else:
        layout.place_layers(_NORMS_V1)
        layout.place("final_norm")
        layout.place("token_embedding")
        layout.place_layers(_MATRICES_V1)
    if not header.tied_output:
        layout.place("output")
    return layout.tensors, tables


class _Layout:
    """Places tensors one after another; with a group size, matrices have scales."""

    def __init__(self, header: Header) -> None:
        self.tensors: dict[str, TensorSpec] = {}
        self._offset = header.n_bytes
        self._group_size = header.group_size
        self._n_layers = header.config.n_layers
        self._shapes = header.config.tensor_shapes(tied_output=header.tied_output)

    def place(self, name: str) -> None:
        """Put this tensor next."""
        shape = self._shapes[name]
        n = math.prod(shape)
        if self._group_size and len(shape) == 2:
            spec = TensorSpec(
                name, "i8_scaled", shape, self._offset, n + 4 * n // self._group_size,
                group_size=self._group_size,
            )  # fmt: skip
        else:
            spec = TensorSpec(name, "f32", shape, self._offset, 4 * n)
        self.tensors[name] = spec
        self._offset = spec.end

    def place_layers(self, kinds: tuple[str, ...]) -> None:
        """Put each kind next, for all layers together."""
        for kind in kinds:
            for layer in range(self._n_layers):
                self.place(f"layers.{layer}.{kind}")

    def skip(self, name: str, n_bytes: int) -> Section:
        """Leave space for bytes that are not weights."""
        section = Section(name, self._offset, n_bytes)
        self._offset += n_bytes
        return section


def llama2c_fields(mapped: MappedFile) -> Iterator[Field]:
    """Every field of one file in order, with one field per tensor's data, for the hex view."""
    header = _checked_header(mapped)
    cursor = Cursor(mapped.data[:PADDED_BYTES], mapped.path, trace=True)
    if header.version:
        read_fields(cursor)
    else:
        for name in SIZE_NAMES:
            cursor.i32(name)
    yield from cursor.fields or ()
    end = cursor.offset
    tensors, _ = _placed(header)
    for spec in sorted(tensors.values(), key=lambda spec: spec.offset):
        if spec.offset > end:
            yield Field(end, spec.offset - end, "not used", "")
        if spec.group_size:
            yield Field(spec.offset, spec.n_elements, f"numbers of {spec.name}", "i8")
            start = spec.offset + spec.n_elements
            yield Field(start, spec.end - start, f"scales of {spec.name}", "f32")
        else:
            yield Field(spec.offset, spec.n_bytes, f"data of {spec.name}", "f32")
        end = spec.end
