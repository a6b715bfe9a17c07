"""safetensors: a JSON table of tensors, then their data without gaps, read in place.

The table says nothing about the model: sizes come from a config.json beside the file. A file that
safetensors_writer.py wrote carries a copy of it in its table, so that it can stand alone.
Source: README of huggingface/safetensors, section Format; the reference for what it leaves open is
the library itself, which passes over further keys of a tensor's row.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files.fields import Field
from llama_edu.files.huggingface.companions import (
    TOKENIZERS,
    carried_from_companions,
    carried_from_config,
    companions_of,
)
from llama_edu.files.huggingface.config_json import (
    assumed_of,
    config_from_json,
    dialect_of,
    window_of,
)
from llama_edu.files.layout import Checkpoint, Section, TensorSpec, TypedValue
from llama_edu.files.mapped import MappedFile, OpenFiles
from llama_edu.files.strict_json import MAX_JSON_BYTES, parse_object, read_object
from llama_edu.files.weights import check_tensors, with_our_names
from llama_edu.text import one_line, quoted

#: safetensors' name -> (ours, bits). Ours is None for types that this package does not support.
_DTYPES: dict[str, tuple[str | None, int]] = {
    "F32": ("f32", 32), "F16": ("f16", 16), "BF16": ("bf16", 16), "F64": ("f64", 64),
    "I64": ("i64", 64), "I32": ("i32", 32), "I16": ("i16", 16), "I8": ("i8", 8),
    "U64": (None, 64), "U32": (None, 32), "U16": (None, 16), "U8": (None, 8), "BOOL": (None, 8),
    "F8_E4M3": (None, 8), "F8_E5M2": (None, 8), "F8_E8M0": (None, 8), "C64": (None, 64),
}  # fmt: skip

#: Key in the table's "__metadata__" under which we keep a copy of config.json.
CONFIG_KEY = "config.json"


@dataclass(frozen=True)
class SafetensorsHeader:
    """The contents of a file's table.

    Attributes:
        tensors: stored name -> TensorSpec with that name, in the order of the table.
        other: names of tensors of unsupported types.
        metadata: the table's "__metadata__", texts by name.
        data_offset: where data begins.
    """

    tensors: dict[str, TensorSpec]
    other: tuple[str, ...]
    metadata: dict[str, str]
    data_offset: int


def read_header(mapped: MappedFile, file: int = 0) -> SafetensorsHeader:
    """Read the table of one .safetensors file and compare it with the file's size.

    Args:
        mapped: the open file.
        file: becomes `TensorSpec.file`.
    Raises:
        FormatError: the table is damaged, or tensors overlap, leave gaps or exceed the file.
    """
    path = mapped.path
    text = _table_text(mapped)
    table = parse_object(text, path)
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError(f"{path}: __metadata__ is not an object of texts; the file is damaged")
    data_offset = 8 + len(text)
    tensors: dict[str, TensorSpec] = {}
    other: list[str] = []
    extents: list[tuple[int, int, str]] = []
    for name, entry in table.items():
        type_name, shape, begin, end = _read_entry(name, entry, path)
        extents.append((begin, end, name))
        if type_name is None:
            other.append(name)
        else:
            tensors[name] = TensorSpec(
                name, type_name, shape, data_offset + begin, end - begin, file, name
            )
    _check_no_gaps(extents, mapped.n_bytes - data_offset, path)
    return SafetensorsHeader(tensors, tuple(other), metadata, data_offset)


def _table_text(mapped: MappedFile) -> bytes:
    """A copy of the table's JSON, including the spaces that pad it."""
    path = mapped.path
    length = mapped.data[:8]
    if len(length) < 8:
        raise FormatError(
            f"{path}: has {mapped.n_bytes} bytes, expected 8 for the table's length; it is "
            f"truncated, download it again"
        )
    (n_bytes,) = struct.unpack("<Q", length)
    most = min(mapped.n_bytes - 8, MAX_JSON_BYTES)
    if not 2 <= n_bytes <= most:
        raise FormatError(
            f"{path}: the table's length is {n_bytes:,} bytes, expected 2 to {most:,}; it is "
            f"truncated or damaged, download it again"
        )
    text = mapped.data[8 : 8 + n_bytes]
    if text[:1] != b"{":
        raise FormatError(
            f"{path}: the table starts with {quoted(text, 40)}, expected an opening brace; this is "
            f"not a safetensors file"
        )
    if not text.rstrip(b" ").endswith(b"}"):  # only spaces may pad it; json would allow others
        raise FormatError(
            f"{path}: the table ends with {quoted(text[-8:])}, expected a closing brace"
        )
    return text


def _read_entry(
    name: str, entry: object, path: Path
) -> tuple[str | None, tuple[int, ...], int, int]:
    """Our type, the shape, and the byte range of one row of the table."""
    where = f"{path}: tensor {one_line(name)}"
    if not isinstance(entry, dict) or not entry.keys() >= {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"{where}: expected dtype, shape and data_offsets; the file is damaged")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise FormatError(
            f"{where}: dtype is {quoted(str(dtype), 40)}, expected one of {', '.join(_DTYPES)}; "
            f"the file is damaged or newer than this program"
        )
    if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2):
        raise FormatError(
            f"{where}: shape {str(shape)[:40]} and data_offsets {str(offsets)[:40]}, expected "
            f"lists of non-negative whole numbers; the file is damaged"
        )
    type_name, bits = _DTYPES[dtype]
    begin, end = offsets
    n_bytes = math.prod(shape) * bits // 8
    if end - begin != n_bytes:
        raise FormatError(
            f"{where}: is at bytes {begin} to {end}, expected {n_bytes} bytes for {dtype} "
            f"{str(shape)[:40]}; the file is damaged"
        )
    return type_name, tuple(shape), begin, end


def _are_counts(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= 8
        and all(type(x) is int and 0 <= x < 2**63 for x in value)
    )


def _check_no_gaps(extents: list[tuple[int, int, str]], data_bytes: int, path: Path) -> None:
    """Raise FormatError unless the tensors fill the data exactly, one after another."""
    end = 0
    for begin, next_end, name in sorted(extents):
        if begin != end:
            what = "overlaps the one before" if begin < end else "leaves a gap before it"
            raise FormatError(
                f"{path}: tensor {one_line(name)} begins at byte {begin:,} of the data and "
                f"{what}, expected {end:,}; the file is damaged"
            )
        end = next_end
    if end != data_bytes:
        raise FormatError(
            f"{path}: tensors take {end:,} bytes, the file has {data_bytes:,} for them; it is "
            f"truncated or damaged, download it again"
        )


def read_safetensors(path: Path, files: OpenFiles) -> Checkpoint:
    """The checkpoint in one .safetensors file with Hugging Face's or Meta's names.

    Sizes come from the copy of config.json in its table, which files written by this package have,
    or else from the config.json next to it.

    Raises:
        FormatError: the file is damaged, is one of several, or has no config.json.
    """
    header = read_header(files.open(path))
    dialect = dialect_of(header.tensors, path)
    beside = path.parent / "config.json"
    if CONFIG_KEY in header.metadata:
        where: object = f"{path}: {CONFIG_KEY}"
        text = header.metadata[CONFIG_KEY].encode("utf-8", "replace")
        values = parse_object(text, where, strict=False)
    elif beside.is_file():
        where, values = beside, read_object(beside, strict=False)
    else:
        raise FormatError(f"{path}: {_what_shapes_tell(header, dialect)}")
    _refuse_one_of_several(path)
    config = config_from_json(values, where)
    if dialect == "meta":
        config = replace(config, rope_pairing="interleaved")
    tied = values.get("tie_word_embeddings") is True
    refuse_uncomputable(header, path)
    tensors, ignored = with_our_names(
        header.tensors, dialect, path, config=config, tied_output=tied
    )
    check_tensors(tensors, config, path)
    tokenizers = [path.parent / name for name in TOKENIZERS]
    companions = () if CONFIG_KEY in header.metadata else companions_of(path.parent)
    texts = carried_texts(header)
    return Checkpoint(
        format="safetensors",
        recognized_by="a JSON table of tensors at byte 8",
        paths=(path,),
        config=config,
        tensors=tensors,
        tokenizer_path=next((found for found in tokenizers if found.is_file()), None),
        sections=(Section("header", 0, 8), Section("metadata", 8, header.data_offset - 8)),
        ignored=(*ignored, *header.other),
        metadata={**header.metadata, **window_of(values)},
        carried={**carried_from_config(values), **carried_from_companions(companions), **texts},
        companions=companions,
        assumed=assumed_of(values),
    )


def carried_texts(header: SafetensorsHeader) -> dict[str, TypedValue]:
    """The table's own texts, as "__metadata__:KEY"."""
    return {
        f"__metadata__:{key}": TypedValue("json", text)
        for key, text in header.metadata.items()
        if (key, text) != ("format", "pt") and key != CONFIG_KEY
    }


def refuse_uncomputable(header: SafetensorsHeader, path: Path) -> None:
    """Raise FormatError if a weight is stored in an unsupported type."""
    for name in header.other:
        if name.endswith((".weight", "_proj")):
            raise FormatError(
                f"{path}: {one_line(name)} has a type that this package cannot compute "
                f"with, expected F32, F16, BF16 or F64; convert the model first"
            )


def _what_shapes_tell(header: SafetensorsHeader, dialect: str) -> str:
    """The rest of a sentence about a file without a config.json."""
    names = {"huggingface": "model.embed_tokens", "meta": "tok_embeddings"}
    shape = header.tensors[f"{names[dialect]}.weight"].shape
    told = f"vocab_size {shape[0]:,} and dim {shape[1]:,}" if len(shape) == 2 else "nothing"
    return (
        f"no config.json next to it; the shapes give {told}, but not n_heads, norm_eps, rope_theta "
        f"and max_seq_len; put the model's config.json into the same folder"
    )


def _refuse_one_of_several(path: Path) -> None:
    """Raise FormatError for a file that an index next to it lists as one of several."""
    index = path.parent / "model.safetensors.index.json"
    if index.is_file():
        weight_map = read_object(index).get("weight_map")
        if isinstance(weight_map, dict) and path.name in weight_map.values():
            n_files = len({str(name) for name in weight_map.values()})
            if n_files > 1:
                raise FormatError(
                    f"{path}: is one of {n_files} files of a model; give its folder, {path.parent}"
                )


def safetensors_fields(mapped: MappedFile) -> Iterator[Field]:
    """Every field of one .safetensors file in order, for an annotated hex view."""
    header = read_header(mapped)
    n_bytes = header.data_offset - 8
    yield Field(0, 8, "length of the table", str(n_bytes))
    n_tensors = len(header.tensors) + len(header.other)
    yield Field(8, n_bytes, "table of tensors, JSON", f"{n_tensors:,} tensors")
    end = header.data_offset
    for spec in sorted(header.tensors.values(), key=lambda spec: spec.offset):
        if spec.offset > end:
            yield Field(end, spec.offset - end, "tensors of other types", "")
        if spec.n_bytes:
            yield Field(spec.offset, spec.n_bytes, one_line(spec.name), f"{spec.type} {spec.shape}")
        end = spec.end
    if mapped.n_bytes > end:
        yield Field(end, mapped.n_bytes - end, "tensors of other types", "")
