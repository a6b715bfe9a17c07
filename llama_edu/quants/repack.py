"""The same codes in another layout: ggjt v1, v2 and v3 blocks turned into each other.

Nothing is quantized again. Between v1 and v2 the nibbles change places, which loses nothing. From
v2 to v3 the float32 scales of q4_0, q4_1 and q8_0 are rounded to float16; the way back widens them.
Repacking to a later version gives what that version's tool would have written, except for v1 blocks
that were rounded by older rules (see quantize.py).
Source: PR #1405 and #1508 of llama.cpp.
"""

from __future__ import annotations

import numpy as np

from llama_edu.errors import FormatError, RequestError
from llama_edu.quants.blocks import BLOCK_TYPES, block_type_of
from llama_edu.quants.legacy_quants import codes_of, has_field, store_codes


def can_repack(from_type: str, to_type: str) -> bool:
    """Whether two types differ at most in their version, as q4_0_v1 and q4_0 do."""
    return _family(from_type) == _family(to_type) is not None


def repack_is_exact(from_type: str, to_type: str) -> bool:
    """Whether no scale is rounded, so that repacking back restores every byte."""
    old, new = BLOCK_TYPES[from_type].dtype, BLOCK_TYPES[to_type].dtype
    return can_repack(from_type, to_type) and new["scale"].itemsize >= old["scale"].itemsize


def repack(blocks: np.ndarray, to_type: str, where: str = "array") -> np.ndarray:
    """Blocks of one version of a type as blocks of another.

    Args:
        blocks: (..., n_blocks) of q4_0 q4_1 q5_0 q5_1 or q8_0, any version and byte order.
        to_type: another version of the same type.
        where: the name of the blocks in messages.
    Returns:
        (..., n_blocks) of the other dtype, a copy.
    Raises:
        RequestError: the two are not versions of one type.
        FormatError: a scale or minimum is finite and too large for float16.
    """
    from_type = block_type_of(blocks).name
    if not can_repack(from_type, to_type):
        raise RequestError(
            f"{where}: {from_type} cannot be repacked as {to_type}, expected another version of "
            f"the same type; convert it with --allow-requantize"
        )
    out = np.empty(blocks.shape, BLOCK_TYPES[to_type].dtype)
    for name in ("scale", "minimum"):
        if has_field(out, name):
            with np.errstate(over="ignore", invalid="ignore"):
                out[name] = blocks[name]
            lost = np.isinf(out[name]) & np.isfinite(blocks[name])
            if lost.any():
                raise FormatError(
                    f"{where}: a {name} of {blocks[name][lost][0]:g} is too large for the float16 "
                    f"of {to_type}, which ends at 65,504; keep the older format"
                )
    if has_field(out, "bytes"):
        out["bytes"] = blocks["bytes"]
    else:
        store_codes(
            codes_of(blocks).reshape(-1, BLOCK_TYPES[to_type].block_size).T, out.reshape(-1)
        )
    return out


def _family(type_name: str) -> str | None:
    """The name without its version, None for types that never had versions."""
    family = type_name.partition("_v")[0]
    return family if family in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0") else None
