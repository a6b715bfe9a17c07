"""The feed-forward tensors in another order of hidden neurons, or with w_down transposed.

Rows of w_gate and w_up move whole, as stored. A column of w_down is a number of many blocks: plain
numbers move exactly, blocks have to be quantized again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llama_edu.convert.loading import load_as
from llama_edu.convert.planning import TypeName, source_of
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.gguf.feed_forward import order_of, why_no_order
from llama_edu.files.gguf.keys import ORDER
from llama_edu.files.layout import (
    LAYOUTS,
    Checkpoint,
    LayoutName,
    PlannedTensor,
    ShardedTensor,
    TypedValue,
)
from llama_edu.files.mapped import MappedFile
from llama_edu.files.parts.shards import join
from llama_edu.quants.blocks import BLOCK_TYPES, by_column, dequantize
from llama_edu.quants.quantize import quantize
from llama_edu.text import quoted


@dataclass(frozen=True)
class Arrangement:
    """How the feed-forward tensors are to be written.

    Attributes:
        layout: see LayoutName.
        order: (n_layers, hidden_dim) int64, which neuron of the source stands at each place; None
            for the source's own order.
        down_type: the type of w_down; "keep" for that of the other matrices' rule.
    """

    layout: LayoutName = "rows"
    order: np.ndarray | None = None
    down_type: TypeName = "keep"

    @property
    def changes_nothing(self) -> bool:
        """Whether the tensors stay as any other conversion writes them."""
        return self.layout == "rows" and self.order is None and self.down_type == "keep"


def check_arrangement(arrangement: Arrangement, checkpoint: Checkpoint, format_name: str) -> None:
    """Raise RequestError unless it can be written in this format, for this model."""
    if arrangement.changes_nothing:
        return
    if arrangement.layout not in LAYOUTS:
        raise RequestError(
            f"layout is {quoted(str(arrangement.layout), 40)}, expected one of {', '.join(LAYOUTS)}"
        )
    if format_name != "gguf":
        raise RequestError(
            f"layout and order of the feed-forward: {format_name} cannot say them; convert to gguf"
        )
    config, order = checkpoint.config, arrangement.order
    if config.n_experts:
        raise RequestError(
            f"{checkpoint.paths[0]}: has {config.n_experts} experts, expected one feed-forward "
            f"network per layer; other layouts are for dense models"
        )
    if order is None:
        return
    expected = (config.n_layers, config.hidden_dim)
    if order.shape != expected or order.dtype.kind not in "iu":
        raise RequestError(
            f"order: {order.dtype} {order.shape}, expected whole numbers {expected}: for each "
            f"layer, which hidden neuron comes first, second ..."
        )
    for layer, row in enumerate(order):
        if (wrong := why_no_order(row)) is not None:
            raise RequestError(
                f"order: {wrong} in layer {layer}, expected each of 0 to {config.hidden_dim - 1} "
                f"once"
            )


def plan_arranged(
    planned: Sequence[PlannedTensor], arrangement: Arrangement
) -> list[PlannedTensor]:
    """The same tensors, each w_down of the type and in the direction that is asked for.

    Raises FormatError where w_down cannot be cut into blocks in that direction.
    """
    return [
        _planned_down(tensor, arrangement) if tensor.name.endswith(".w_down") else tensor
        for tensor in planned
    ]


def _planned_down(tensor: PlannedTensor, arrangement: Arrangement) -> PlannedTensor:
    kind = tensor.type if arrangement.down_type == "keep" else arrangement.down_type
    found = replace(tensor, type=kind, transposed=arrangement.layout != "rows")
    length, size = found.written_shape[-1], BLOCK_TYPES[kind].block_size
    if length % size:
        raise FormatError(
            f"{tensor.name}: rows of {length} numbers in layout {arrangement.layout} cannot become "
            f"{kind}, whose blocks have {size}; choose f16 or f32 for w_down"
        )
    return found


def order_settings(checkpoint: Checkpoint, arrangement: Arrangement) -> Mapping[str, TypedValue]:
    """The key that says in which order the hidden neurons are, counted from the first model."""
    if arrangement.order is None:
        return {}
    before = order_of(checkpoint.metadata, checkpoint.config)
    order = arrangement.order
    if before is not None:
        order = np.take_along_axis(before, order, axis=1)
    small = checkpoint.config.hidden_dim <= 2**16
    kind, dtype = ("u16", "<u2") if small else ("u32", "<u4")
    return {ORDER: TypedValue(f"array of {kind}", order.astype(dtype).reshape(-1))}


def load_arranged(
    checkpoint: Checkpoint,
    planned: PlannedTensor,
    files: Sequence[MappedFile],
    order: np.ndarray | None,
) -> np.ndarray:
    """One tensor in the form to be written, as load_as(), and in the order asked for.

    Args:
        order: that of the arrangement.
    Returns:
        (in_features, out_features / block_size) for a tensor planned as transposed.
    """
    prefix, _, part = planned.name.rpartition(".")
    layer_order = None
    if order is not None and part in ("w_gate", "w_up", "w_down"):
        layer_order = order[int(prefix.split(".")[1])]
    if part == "w_down" and (planned.transposed or layer_order is not None):
        return _down(checkpoint, planned, files, layer_order)
    data = load_as(checkpoint, planned, files)
    return data if layer_order is None else data[layer_order]


def _down(
    checkpoint: Checkpoint,
    planned: PlannedTensor,
    files: Sequence[MappedFile],
    order: np.ndarray | None,
) -> np.ndarray:
    """w_down by hidden neurons first, in their new order, then in the direction to be written."""
    source = source_of(checkpoint, planned.name)
    if isinstance(source, ShardedTensor):
        stored = join(source, lambda shard: files[shard.file].read(shard))
    else:
        stored = files[source.file].read(source)
    block = BLOCK_TYPES[planned.type]
    columns = by_column(stored)
    if columns is None:
        numbers = dequantize(stored).T
        numbers = numbers if order is None else numbers[order]
    else:
        columns = columns if order is None else columns[order]
        if columns.dtype == block.dtype and planned.transposed:
            return columns
        if columns.dtype == block.dtype and block.block_size == 1:
            return columns.T
        numbers = dequantize(columns)
    turned = numbers if planned.transposed else numbers.T
    return quantize(np.ascontiguousarray(turned), planned.type, where=planned.name)
