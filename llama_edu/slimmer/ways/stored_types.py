"""The same weights, stored with fewer bits."""

from __future__ import annotations

from dataclasses import replace

from llama_edu.config import output_name
from llama_edu.quants.blocks import BLOCK_TYPES, block_type_of, dequantize
from llama_edu.quants.quantize import quantize
from llama_edu.transformer.model import Model

#: From 32 to 1.6875 bits for a weight.
TYPES = (
    "f32", "f16", "q8_0", "q6_k", "q5_0", "q5_k", "q4_1", "q4_0", "q4_k", "q3_k", "q2_k", "tq1_0",
)  # fmt: skip


def kept(model: Model) -> frozenset[str]:
    """The matrix that stays as it is: an embedding table that is the output matrix as well."""
    output = output_name(model.weights)
    return frozenset({output} if output == "token_embedding" else ())


def own_types(model: Model) -> set[str]:
    """The types of the matrices that can be stored otherwise."""
    stays = kept(model)
    return {block_type_of(w).name for name, w in model.weights.items()
            if w.ndim == 2 and name not in stays}  # fmt: skip


def why_not(model: Model, type_name: str) -> str:
    """Why the matrices cannot be stored like this, in words; "" where they can."""
    block_size = BLOCK_TYPES[type_name].block_size
    for name, w in model.weights.items():
        row = w.shape[-1] * block_type_of(w).block_size
        if w.ndim == 2 and name not in kept(model) and row % block_size:
            return f"rows of {row:,} numbers are no whole blocks of {block_size}"
    return ""


def in_type(model: Model, type_name: str) -> Model:
    """The model with its matrices in another type; vectors stay, and so does a tied output.

    Raises:
        RequestError: there is no quantizer for the type.
        ShapeError: rows are not whole blocks of it; `why_not` says so before.
        FormatError: a number is not finite, or too large for the type.
    """
    stays = kept(model)
    weights = {
        name: w
        if w.ndim == 1 or name in stays or block_type_of(w).name == type_name
        else quantize(dequantize(w), type_name, where=name)
        for name, w in model.weights.items()
    }
    return replace(model, weights=weights)
