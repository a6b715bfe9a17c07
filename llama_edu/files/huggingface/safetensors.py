"""safetensors: a JSON table of tensors, then their data without gaps. Read in place, and written.

The table says nothing about the model: sizes come from a config.json beside the file. A file that
we write carries a copy of it in its table, so that it can stand alone.
Source: README of huggingface/safetensors, section Format.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.fields import Field
from llama_edu.files.huggingface.config_json import (
    config_from_json,
    config_to_json,
    dialect_of,
    with_our_names,
)
from llama_edu.files.layout import (
    Checkpoint,
    LoadTensor,
    PlannedTensor,
    Section,
    TensorSpec,
    as_planned,
    check_tensors,
)
from llama_edu.files.mapped import open_weights
from llama_edu.files.names import from_ours
from llama_edu.files.row_order import permute_rows_to_halves
from llama_edu.files.strict_json import MAX_JSON_BYTES, parse_object, read_object
from llama_edu.text import one_line

#: safetensors' name -> (ours, bits). Ours is None where nothing here computes with the type.
_DTYPES: dict[str, tuple[str | None, int]] = {
    "F32": ("f32", 32), "F16": ("f16", 16), "BF16": ("bf16", 16), "F64": ("f64", 64),
    "I64": ("i64", 64), "I32": ("i32", 32), "I16": ("i16", 16), "I8": ("i8", 8),
    "U64": (None, 64), "U32": (None, 32), "U16": (None, 16), "U8": (None, 8), "BOOL": (None, 8),
    "F8_E4M3": (None, 8), "F8_E5M2": (None, 8), "F8_E8M0": (None, 8), "C64": (None, 64),
}  # fmt: skip

_WRITABLE = {"f32": "F32", "f16": "F16", "bf16": "BF16", "f64": "F64"}
TORCH_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64"}

#: Key in the table's "__metadata__" under which we keep a copy of config.json.
CONFIG_KEY = "config.json"


@dataclass(frozen=True)
class SafetensorsHeader:
    """What a file's table says.

    Attributes:
        tensors: stored name -> TensorSpec with that name, in file order.
        other: names of tensors of a type that nothing here computes with.
        metadata: the table's "__metadata__", texts by name.
        data_offset: where data begin.
    """

    tensors: dict[str, TensorSpec]
    other: tuple[str, ...]
    metadata: dict[str, str]
    data_offset: int


def read_header(path: Path, file: int = 0) -> SafetensorsHeader:
    """Read the table of one .safetensors file and compare it with the file's size.

    Args:
        path: the file.
        file: becomes `TensorSpec.file`.
    Raises:
        FormatError: the table is damaged, or tensors overlap, leave gaps or pass the end.
    """
    with open_weights(path) as opened:
        file_bytes = opened.seek(0, 2)
        opened.seek(0)
        length = opened.read(8)
        if len(length) < 8:
            raise FormatError(
                f"{path}: has {file_bytes} bytes, expected 8 for the table's length; it is "
                f"truncated, download it again"
            )
        (n_bytes,) = struct.unpack("<Q", length)
        most = min(file_bytes - 8, MAX_JSON_BYTES)
        if not 2 <= n_bytes <= most:
            raise FormatError(
                f"{path}: the table's length is {n_bytes:,} bytes, expected 2 to {most:,}; it is "
                f"truncated or damaged, download it again"
            )
        text = opened.read(n_bytes)
    if text[:1] != b"{":
        raise FormatError(
            f"{path}: the table starts with {text[:8]!a}, expected an opening brace; this is no "
            f"safetensors file"
        )
    if not text.rstrip(b" ").endswith(b"}"):  # only spaces may pad it; json would allow others
        raise FormatError(f"{path}: the table ends with {text[-8:]!a}, expected a closing brace")
    table = parse_object(text, path)
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError(f"{path}: __metadata__ is not an object of texts; the file is damaged")
    data_offset = 8 + n_bytes
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
    _check_no_gaps(extents, file_bytes - data_offset, path)
    return SafetensorsHeader(tensors, tuple(other), metadata, data_offset)


def _read_entry(
    name: str, entry: object, path: Path
) -> tuple[str | None, tuple[int, ...], int, int]:
    """Our type, shape, and the range of bytes of one row of the table."""
    where = f"{path}: tensor {one_line(name)}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"{where}: expected dtype, shape and data_offsets; the file is damaged")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise FormatError(
            f"{where}: dtype is {str(dtype)[:40]!a}, expected one of {', '.join(_DTYPES)}; the "
            f"file is damaged or newer than this program"
        )
    if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2):
        raise FormatError(
            f"{where}: shape {str(shape)[:40]} and data_offsets {str(offsets)[:40]}, expected "
            f"lists of whole numbers from 0 on; the file is damaged"
        )
    type_name, bits = _DTYPES[dtype]
    begin, end = offsets
    n_bytes = math.prod(shape) * bits // 8
    if end - begin != n_bytes:
        raise FormatError(
            f"{where}: lies at bytes {begin} to {end}, expected {n_bytes} bytes for {dtype} "
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


def read_safetensors(path: Path) -> Checkpoint:
    """The checkpoint in one .safetensors file with Hugging Face's or Meta's names.

    Sizes come from the copy of config.json in its table, which files of ours have, or else from the
    config.json beside it.

    Raises:
        FormatError: damaged, part of a sharded model, or nothing says how many heads there are.
    """
    path = Path(path)
    header = read_header(path)
    dialect = dialect_of(header.tensors, path)
    beside = path.parent / "config.json"
    if CONFIG_KEY in header.metadata:
        where: object = f"{path}: {CONFIG_KEY}"
        values = parse_object(header.metadata[CONFIG_KEY].encode("utf-8", "replace"), where)
    elif beside.is_file():
        where, values = beside, read_object(beside)
    else:
        raise FormatError(f"{path}: {_what_shapes_tell(header, dialect)}")
    _refuse_shards(path)
    config = config_from_json(values, where)
    if dialect == "meta":
        config = replace(config, rope_pairing="interleaved")
    tied = values.get("tie_word_embeddings") is True
    refuse_uncomputable(header, path)
    tensors, ignored = with_our_names(header.tensors, dialect, tied_output=tied, where=path)
    check_tensors(tensors, config, path)
    tokenizer_path = path.parent / "tokenizer.model"
    return Checkpoint(
        format="safetensors",
        recognized_by="a JSON table of tensors at byte 8",
        paths=(path,),
        config=config,
        tensors=tensors,
        tokenizer_path=tokenizer_path if tokenizer_path.is_file() else None,
        sections=(Section("header", 0, 8), Section("metadata", 8, header.data_offset - 8)),
        ignored=(*ignored, *header.other),
        metadata=header.metadata,
    )


def refuse_uncomputable(header: SafetensorsHeader, path: Path) -> None:
    """Raise FormatError where a weight is stored in a type that nothing here computes with."""
    for name in header.other:
        if name.endswith(".weight"):
            raise FormatError(
                f"{path}: {one_line(name)} has a type that this package cannot compute "
                f"with, expected F32, F16, BF16 or F64; convert the model first"
            )


def _what_shapes_tell(header: SafetensorsHeader, dialect: str) -> str:
    """The rest of a sentence about a file whose sizes nobody states."""
    names = {"huggingface": "model.embed_tokens", "meta": "tok_embeddings"}
    shape = header.tensors[f"{names[dialect]}.weight"].shape
    told = f"vocab_size {shape[0]:,} and dim {shape[1]:,}" if len(shape) == 2 else "nothing"
    return (
        f"no config.json beside it; the shapes tell {told}, but not n_heads, norm_eps, rope_theta "
        f"and max_seq_len; put the model's config.json into the same folder"
    )


def _refuse_shards(path: Path) -> None:
    index = path.parent / "model.safetensors.index.json"
    if index.is_file():
        weight_map = read_object(index).get("weight_map")
        if isinstance(weight_map, dict) and path.name in weight_map.values():
            n_files = len({str(name) for name in weight_map.values()})
            if n_files > 1:
                raise FormatError(
                    f"{path}: is one of {n_files} files of a model; give its folder, {path.parent}"
                )


def write_safetensors(
    file: BinaryIO,
    config: ModelConfig,
    tensors: Sequence[PlannedTensor],
    load: LoadTensor,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a whole .safetensors file with Hugging Face's names and row order.

    Args:
        file: opened for writing; only written to, never read or moved.
        config: also stored, as a config.json inside the table.
        tensors: what to write, in this order; f32, f16, bf16 or f64.
        load: the data of a planned tensor as stored; rows of wq and wk with RoPE pairs side by
            side. They are moved apart here, which copies that one matrix.
        metadata: more texts for the table.
    Raises:
        RequestError: a type that safetensors cannot express.
        ShapeError: `load` returned something other than what was planned.
    """
    tied = all(tensor.name != "output" for tensor in tensors)
    stated = config_to_json(config, tied_output=tied, dtype=TORCH_DTYPES[main_type(tensors)])
    table: dict[str, object] = {
        "__metadata__": {"format": "pt", **(metadata or {}), CONFIG_KEY: json.dumps(stated)}
    }
    begin = 0
    for tensor in tensors:
        end = begin + tensor.n_bytes
        table[from_ours(tensor.name, "huggingface")] = {
            "dtype": _WRITABLE[tensor.type],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that data are aligned
    file.write(struct.pack("<Q", len(text)) + text)
    for tensor in tensors:
        array = load(tensor)
        data = as_planned(array, tensor)
        n_heads = {"wq": config.n_heads, "wk": config.n_kv_heads}.get(tensor.name.split(".")[-1])
        if n_heads is not None:
            data = as_planned(permute_rows_to_halves(array, n_heads), tensor)
        file.write(data)


def main_type(tensors: Sequence[PlannedTensor]) -> str:
    """The type of most bytes. RequestError where a type does not exist in safetensors."""
    n_bytes: dict[str, int] = {}
    for tensor in tensors:
        if tensor.type not in _WRITABLE:
            raise RequestError(
                f"{tensor.name}: type {tensor.type} does not exist in safetensors files; choose "
                f"one of {', '.join(_WRITABLE)}"
            )
        n_bytes[tensor.type] = n_bytes.get(tensor.type, 0) + tensor.n_bytes
    return max(n_bytes, key=lambda name: n_bytes[name], default="f32")


def safetensors_fields(path: Path) -> Iterator[Field]:
    """Every field of one .safetensors file in order, for an annotated hex view."""
    header = read_header(Path(path))
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
    file_bytes = Path(path).stat().st_size
    if file_bytes > end:
        yield Field(end, file_bytes - end, "tensors of other types", "")
