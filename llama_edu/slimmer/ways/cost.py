"""What one token needs of a model: the bytes and the pages of the file that it would be.

A token is computed and the ledger listens, so nothing is counted that is not read. For a file that
exists the tensors lie where it has them; other weights are placed as a GGUF file would place them,
one after the other, each at a multiple of 32 bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from llama_edu.files.gguf.header import DEFAULT_ALIGNMENT
from llama_edu.files.layout import TensorSpec, n_bytes_for
from llama_edu.pages.arithmetic import n_pages_of
from llama_edu.pages.ledger import Ledger
from llama_edu.quants.blocks import block_type_of
from llama_edu.table import Rows
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import FeedForward, Model, forward
from llama_edu.transformer.step import step


@dataclass(frozen=True)
class Cost(Rows):
    """What one token reads: bytes, and (n_pages,) bool, which pages of the file hold them."""

    n_bytes: int
    pages: np.ndarray

    @property
    def n_pages(self) -> int:
        """How many pages are touched."""
        return int(self.pages.sum())


def cost(
    model: Model,
    tensors: Mapping[str, TensorSpec],
    token: int,
    *,
    ffn: FeedForward | None = None,
    page_size: int = mmap.PAGESIZE,
) -> Cost:
    """Compute one token and note what it reads.

    Args:
        tensors: where each weight that the model reads lies, all in one file.
        token: whose row of the embedding table is read.
    """
    n_pages = n_pages_of(max(spec.end for spec in tensors.values()), page_size)
    ledger = Ledger(tensors, page_size, n_pages)
    with step(model):
        forward(replace(model, log=ledger), [token], KVCache(model.config, 1), ffn=ffn)
    return Cost(ledger.n_bytes, ledger.pages())


def placed(weights: Mapping[str, np.ndarray], start: int) -> dict[str, TensorSpec]:
    """Where a GGUF file would have these weights, in their order.

    Args:
        weights: name -> array as stored. start: the first byte after the header.
    """
    specs, offset = {}, start
    for name, array in weights.items():
        block = block_type_of(array)
        shape = (*array.shape[:-1], array.shape[-1] * block.block_size)
        n_bytes = n_bytes_for(block.name, shape, name)
        specs[name] = TensorSpec(name, block.name, shape, offset, n_bytes)
        offset += n_bytes + -n_bytes % DEFAULT_ALIGNMENT
    return specs


def no_feed_forward(model: Model, layer: int, x: np.ndarray, see: object) -> np.ndarray:
    """A feed-forward block that reads nothing: what is left is the floor, attention and output."""
    return np.zeros_like(x)
