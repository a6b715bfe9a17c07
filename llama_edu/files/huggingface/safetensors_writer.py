"""Writing a .safetensors file that can be used alone: its table has a copy of config.json.

Source: README of huggingface/safetensors, section Format.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.files.huggingface.config_json import config_to_json
from llama_edu.files.huggingface.safetensors import CONFIG_KEY
from llama_edu.files.layout import LoadTensor, PlannedTensor, as_planned
from llama_edu.files.names import from_ours
from llama_edu.files.row_order import rows_in_halves

#: The types that this package writes -> safetensors' names.
WRITABLE = {"f32": "F32", "f16": "F16", "bf16": "BF16", "f64": "F64"}

#: The same types -> torch's names, as config.json has them.
TORCH_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64"}


def write_safetensors(
    file: BinaryIO,
    config: ModelConfig,
    tensors: Sequence[PlannedTensor],
    load: LoadTensor,
    metadata: Mapping[str, str] | None = None,
    extra: Mapping[str, object] | None = None,
) -> None:
    """Write a whole .safetensors file with Hugging Face's names and row order.

    Args:
        file: opened for writing; only written to, without reading or seeking.
        config: also stored, as a config.json inside the table.
        tensors: what to write, in this order; f32, f16, bf16 or f64.
        load: returns the data of a planned tensor as stored; rows of wq and wk with RoPE's pairs
            side by side. They are moved apart here, which copies that one matrix.
        metadata: more texts for the table.
        extra: more keys for the config.json inside the table.
    Raises:
        RequestError: a type that safetensors cannot express.
        ShapeError: `load` returned something other than what was planned.
    """
    tied = all(tensor.name != "output" for tensor in tensors)
    dtype = TORCH_DTYPES[main_type(tensors)]
    stated = {**(extra or {}), **config_to_json(config, tied_output=tied, dtype=dtype)}
    table: dict[str, object] = {
        "__metadata__": {"format": "pt", **(metadata or {}), CONFIG_KEY: json.dumps(stated)}
    }
    begin = 0
    for tensor in tensors:
        end = begin + tensor.n_bytes
        table[from_ours(tensor.name, "huggingface")] = {
            "dtype": WRITABLE[tensor.type],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that data is aligned
    file.write(struct.pack("<Q", len(text)) + text)
    for tensor in tensors:
        array = load(tensor)
        as_planned(array, tensor)  # its shape is checked before rows are moved
        file.write(as_planned(rows_in_halves(array, tensor.name, config), tensor))


def main_type(tensors: Sequence[PlannedTensor]) -> str:
    """The type of most bytes. RequestError if a type does not exist in safetensors."""
    n_bytes: dict[str, int] = {}
    for tensor in tensors:
        if tensor.type not in WRITABLE:
            raise RequestError(
                f"{tensor.name}: type {tensor.type} does not exist in safetensors files; choose "
                f"one of {', '.join(WRITABLE)}"
            )
        n_bytes[tensor.type] = n_bytes.get(tensor.type, 0) + tensor.n_bytes
    return max(n_bytes, key=lambda name: n_bytes[name], default="f32")
