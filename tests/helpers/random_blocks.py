"""Stored weights made of random bits, as a model could have them."""

from __future__ import annotations

import numpy as np

from llama_edu.quants.blocks import BLOCK_TYPES


def random_blocks(type_name: str, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Every bit pattern of the codes, scales that a model could have."""
    rng = np.random.default_rng(seed)
    block = BLOCK_TYPES[type_name]
    if type_name == "f16":
        return rng.standard_normal((rows, columns)).astype(np.float16)
    shape = (rows, columns // block.block_size, block.dtype.itemsize)
    blocks = rng.integers(0, 256, shape, np.uint8).view(block.dtype)[..., 0].copy()
    for field in ("scale", "minimum"):
        if field in (block.dtype.names or ()):
            blocks[field] = rng.standard_normal(blocks.shape) * 1e-2
    if "exponent" in (block.dtype.names or ()):
        blocks["exponent"] = rng.integers(120, 130, blocks.shape)
    if type_name == "bf16":
        numbers = rng.standard_normal((rows, columns)).astype(np.float32)
        blocks["bf16"] = numbers.view(np.uint32) >> 16
    return blocks
