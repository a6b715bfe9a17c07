"""Other layouts of the feed-forward block in a GGUF file: what a reader finds, what a writer makes.

A file of `llama` has three matrices per layer. With a layout of our own it is a file of
`llama_edu`, so that no other program takes one matrix for another:

| layout | tensors of layer i |
|---|---|
| down-transposed | `blk.i.ffn_gate`, `blk.i.ffn_up`, and `blk.i.ffn_down_t`: (hidden_dim, dim) |
| side-by-side | `blk.i.ffn_neurons`: (hidden_dim, bytes), i8 |

A row of the last is what one hidden neuron has of w_gate, w_up and w_down, each as it is stored in
its own type.

GGUF, and no format of our own: header, vocabulary, hex view and everything that checks a hostile
file are the same. The order of the hidden neurons is a key and no tensor, since llama.cpp refuses a
tensor that it does not know and passes over such a key: permuted rows are a plain `llama`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError
from llama_edu.files.gguf.header import GgufHeader, TensorInfo
from llama_edu.files.gguf.keys import ARCHITECTURE, LAYOUT, LAYOUT_TYPES, ORDER
from llama_edu.files.layout import (
    LAYOUTS,
    LayoutName,
    LoadTensor,
    PlannedTensor,
    TensorSpec,
    TypedValue,
    as_planned,
    n_bytes_for,
)
from llama_edu.files.names import from_ours
from llama_edu.quants.blocks import BLOCK_TYPES
from llama_edu.text import quoted

_TRANSPOSED = re.compile(r"blk\.(0|[1-9][0-9]{0,8})\.ffn_down_t\.weight")
_SIDE_BY_SIDE = re.compile(r"blk\.(0|[1-9][0-9]{0,8})\.ffn_neurons\.weight")
_PARTS = ("w_gate", "w_up", "w_down")


@dataclass(frozen=True)
class StoredLayout:
    """What the keys of a file say about its feed-forward tensors.

    `types` has the types of w_gate, w_up and w_down of each layer in turn, for "side-by-side".
    """

    name: LayoutName
    types: tuple[str, ...] = ()


def read_layout(header: GgufHeader) -> StoredLayout:
    """The layout that the keys name. FormatError for one that the architecture does not have."""
    found = header.text(LAYOUT, "rows")
    plain = header.text("general.architecture") == ARCHITECTURE
    possible: tuple[LayoutName, ...] = ("rows",) if plain else LAYOUTS
    name = next((layout for layout in possible if layout == found), None)
    if name is None:
        raise FormatError(
            f"{header.path}: {LAYOUT} is {quoted(found, 40)}, expected {' or '.join(possible)} in "
            f"a file of this architecture; the file is damaged"
        )
    if name != "side-by-side":
        return StoredLayout(name)
    stated = header.strings(LAYOUT_TYPES)
    if stated is None:
        raise header.lacks(LAYOUT_TYPES, "three types for each layer")
    n_types = 3 * header.integer(f"{ARCHITECTURE}.block_count")
    if len(stated) != n_types:
        raise FormatError(
            f"{header.path}: {LAYOUT_TYPES} has {len(stated):,} types, expected {n_types:,}: three "
            f"for each layer; the file is damaged"
        )
    types = tuple(stated)
    unknown = next((t for t in types if t not in BLOCK_TYPES), None)
    if unknown is not None:
        raise FormatError(
            f"{header.path}: {LAYOUT_TYPES} has {quoted(unknown, 40)}, expected types such as f16 "
            f"or q8_0; the file is damaged"
        )
    return StoredLayout(name, types)


def specs_of(
    info: TensorInfo, layout: StoredLayout, header: GgufHeader, file: int
) -> list[TensorSpec] | None:
    """Our tensors in one stored tensor of a layout of our own; None for every other tensor.

    Raises FormatError for neurons whose bytes are not those of the types that the keys name.
    """
    if layout.name == "down-transposed" and (found := _TRANSPOSED.fullmatch(info.name)):
        name, shape = f"layers.{found[1]}.w_down", info.shape[::-1]
        at = header.data_offset + info.offset
        return [TensorSpec(name, info.type, shape, at, info.n_bytes, file, info.name,
                           big_endian=header.order == ">", transposed=True)]  # fmt: skip
    if layout.name == "side-by-side" and (found := _SIDE_BY_SIDE.fullmatch(info.name)):
        return _neurons(info, int(found[1]), layout, header, file)
    return None


def _neurons(
    info: TensorInfo, layer: int, layout: StoredLayout, header: GgufHeader, file: int
) -> list[TensorSpec]:
    """w_gate, w_up and w_down in rows of bytes."""
    where = f"{header.path}: tensor {info.name}"
    types = layout.types[3 * layer : 3 * layer + 3]  # none for a layer that is not there
    dim = header.integer(f"{ARCHITECTURE}.embedding_length")
    if len(types) < 3 or info.type != "i8" or len(info.shape) != 2 or 0 in info.shape:
        raise FormatError(
            f"{where} is {info.type} {info.shape} with the types {', '.join(types) or 'none'} in "
            f"{LAYOUT_TYPES}, expected i8 (hidden_dim, bytes) and three types; the file is damaged"
        )
    sizes = [n_bytes_for(kind, (dim,), where) for kind in types]
    n_neurons, row_bytes = info.shape
    if sum(sizes) != row_bytes:
        raise FormatError(
            f"{where} has {row_bytes:,} bytes for a neuron, expected {sum(sizes):,} for three "
            f"times {dim:,} numbers of {', '.join(types)}; the file is damaged"
        )
    specs = []
    at = header.data_offset + info.offset
    for part, kind, size in zip(_PARTS, types, sizes, strict=True):
        is_down = part == "w_down"
        specs.append(TensorSpec(
            f"layers.{layer}.{part}", kind, (dim, n_neurons) if is_down else (n_neurons, dim), at,
            (n_neurons - 1) * row_bytes + size, file, info.name, big_endian=header.order == ">",
            strides=(row_bytes, BLOCK_TYPES[kind].dtype.itemsize), transposed=is_down,
        ))  # fmt: skip
        at += size
    return specs


def check_order(stored: np.ndarray | None, config: ModelConfig, path: Path) -> None:
    """Raise FormatError unless an order names each hidden neuron of each layer once.

    Args:
        stored: (n_layers * hidden_dim,) of whole numbers: which neuron of the model that was
            permuted stands at each place, layer after layer; None where no order is stated.
    """
    if stored is None:
        return
    n_layers, n = config.n_layers, config.hidden_dim
    if len(stored) != n_layers * n:
        raise FormatError(
            f"{path}: {ORDER} has {len(stored):,} entries, expected {n_layers:,} layers of {n:,} "
            f"hidden neurons; the file is damaged"
        )
    for layer, order in enumerate(stored.reshape(n_layers, n)):
        if (wrong := why_no_order(order)) is not None:
            raise FormatError(
                f"{path}: {ORDER} {wrong} in layer {layer}, expected each of 0 to {n - 1:,} once; "
                f"the file is damaged"
            )


def why_no_order(order: np.ndarray) -> str | None:
    """Why (n,) whole numbers are no permutation of 0 to n - 1, as a phrase; None if they are."""
    n = len(order)
    outside = order[(order < 0) | (order >= n)]
    if len(outside):
        return f"has {int(outside[0]):,}"
    counts = np.bincount(order.astype(np.int64), minlength=n)
    return f"has {int(counts.argmax()):,} twice" if counts.max(initial=1) > 1 else None


def layout_values(layout: LayoutName, tensors: Sequence[PlannedTensor]) -> dict[str, TypedValue]:
    """The keys that say how the tensors lie; none for the layout that every reader expects."""
    if layout == "rows":
        return {}
    values = {LAYOUT: TypedValue("string", layout)}
    if layout == "side-by-side":
        planned = {tensor.name: tensor.type for tensor in tensors}
        layers = sum(name.endswith(".w_gate") for name in planned)
        types = [planned[f"layers.{i}.{part}"] for i in range(layers) for part in _PARTS]
        values[LAYOUT_TYPES] = TypedValue("array of string", types)
    return values


def arranged(
    layout: LayoutName, tensors: Sequence[PlannedTensor], load: LoadTensor
) -> tuple[dict[str, list[PlannedTensor]], LoadTensor]:
    """The tensors of a layout of our own, by their names in the file, and what loads one of them.

    Args:
        layout: "down-transposed" or "side-by-side". tensors: of which the w_down are `transposed`.
        load: as for write_gguf().
    """
    if layout != "side-by-side":
        return {_stored_name(tensor): [tensor] for tensor in tensors}, load
    by_name = {tensor.name: tensor for tensor in tensors}
    stored: dict[str, list[PlannedTensor]] = {}
    parts_of: dict[str, list[PlannedTensor]] = {}
    for tensor in tensors:
        prefix, _, part = tensor.name.rpartition(".")
        if part not in _PARTS:
            stored[_stored_name(tensor)] = [tensor]
        elif part == "w_gate":
            parts = [by_name[f"{prefix}.{p}"] for p in _PARTS]
            n_neurons = tensor.shape[0]
            row_bytes = sum(p.n_bytes for p in parts) // n_neurons
            name = f"{prefix}.neurons"
            neurons = PlannedTensor(name, "i8", (n_neurons, row_bytes))
            stored[f"blk.{prefix.split('.')[1]}.ffn_neurons.weight"] = [neurons]
            parts_of[name] = parts

    def load_arranged(tensor: PlannedTensor) -> np.ndarray:
        parts = parts_of.get(tensor.name)
        if parts is None:
            return load(tensor)
        rows = [np.frombuffer(as_planned(load(part), part), np.int8) for part in parts]
        return np.concatenate([row.reshape(tensor.shape[0], -1) for row in rows], axis=1)

    return stored, load_arranged


def _stored_name(tensor: PlannedTensor) -> str:
    name = from_ours(tensor.name, "gguf")
    return name.replace("ffn_down", "ffn_down_t") if tensor.transposed else name


def order_of(metadata: Mapping[str, object], config: ModelConfig) -> np.ndarray | None:
    """The order of the hidden neurons that a file states, checked by its reader.

    Args:
        metadata: of a Checkpoint.
    Returns:
        (n_layers, hidden_dim) int64, a copy: which neuron of the model that was permuted stands at
        each place; None where the file states none.
    """
    stored = metadata.get(ORDER)
    if not isinstance(stored, np.ndarray):
        return None
    return stored.astype(np.int64).reshape(config.n_layers, config.hidden_dim)
