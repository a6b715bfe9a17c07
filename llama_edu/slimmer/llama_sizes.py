"""What skipping neurons would save of the LLaMAs of 2023, by arithmetic: nothing here is measured.

Each neuron is taken to be skipped or not by itself, with the same chance; a page is then needed
with the chance that one of its neurons is kept. Real tokens keep some neurons together, which
changes a few percent. Sizes: table 2 of arXiv 2302.13971, and hidden_dim by the rule in config.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llama_edu.config import hidden_dim_by_rule
from llama_edu.files.layout import LAYOUTS, LayoutName, TensorSpec, n_bytes_for
from llama_edu.slimmer.neuron_pages import page_runs
from llama_edu.table import Rows

#: Name -> dim and layers. All have 32,000 pieces, and hidden_dim a multiple of 256.
_LLAMAS = {"7B": (4096, 32), "13B": (5120, 40), "30B": (6656, 60), "65B": (8192, 80)}
_VOCAB_SIZE, _MULTIPLE_OF = 32_000, 256

#: Where a matrix begins in its first page. Formats align to 32 bytes, so that nearly none begins a
#: page: a row of two pages' length then lies in three.
_OFFSET = 1024


@dataclass(frozen=True)
class SizeOnPages(Rows):
    """One LLaMA with one type of weights.

    Attributes:
        floor_fraction: of the file: attention and output, which every token needs.
        fractions: of the file that one token needs, by layout and by share of neurons skipped.
    """

    name: str
    type: str
    floor_fraction: float
    fractions: dict[LayoutName, tuple[float, ...]]


def llama_sizes(
    shares: tuple[float, ...], page_size: int, types: tuple[str, ...] = ("q4_0", "f16")
) -> tuple[SizeOnPages, ...]:
    """Each LLaMA of 2023 with each type: what a token needs where so many neurons are skipped."""
    return tuple(
        _one(name, dim, n_layers, kind, shares, page_size)
        for kind in types
        for name, (dim, n_layers) in _LLAMAS.items()
    )


def _one(
    name: str, dim: int, n_layers: int, kind: str, shares: tuple[float, ...], page_size: int
) -> SizeOnPages:
    hidden_dim = hidden_dim_by_rule(dim, _MULTIPLE_OF)
    row_bytes = n_bytes_for(kind, (dim,), name)
    vocabulary_bytes = _VOCAB_SIZE * row_bytes  # the embedding table, and the output matrix
    attention_bytes = n_layers * 4 * dim * row_bytes
    feed_forward_bytes = n_layers * 3 * hidden_dim * row_bytes
    file_bytes = attention_bytes + feed_forward_bytes + 2 * vocabulary_bytes
    floor = attention_bytes + vocabulary_bytes
    fractions: dict[LayoutName, tuple[float, ...]] = {}
    for layout in LAYOUTS:
        tensors = _feed_forward(layout, kind, dim, hidden_dim)
        needed = [
            floor + n_layers * page_size * sum(_pages(s, axis, share, page_size)
                                               for s, axis in tensors)
            for share in shares
        ]  # fmt: skip
        fractions[layout] = tuple(n_bytes / file_bytes for n_bytes in needed)
    return SizeOnPages(name, kind, floor / file_bytes, fractions)


def _feed_forward(
    layout: LayoutName, kind: str, dim: int, hidden_dim: int
) -> list[tuple[TensorSpec, int]]:
    """The stored matrices of one layer, each with the axis of its neurons."""
    row_bytes = n_bytes_for(kind, (dim,), layout)
    n_bytes = hidden_dim * row_bytes
    rows = TensorSpec("w_gate", kind, (hidden_dim, dim), _OFFSET, n_bytes)
    if layout == "side-by-side":
        neurons = (hidden_dim, 3 * row_bytes)
        return [(TensorSpec("neurons", "i8", neurons, _OFFSET, 3 * n_bytes), 0)]
    if layout == "down-transposed":
        return [(rows, 0)] * 3
    down = TensorSpec("w_down", kind, (dim, hidden_dim), _OFFSET, n_bytes)
    return [(rows, 0), (rows, 0), (down, 1)]


def _pages(spec: TensorSpec, axis: int, share: float, page_size: int) -> float:
    """How many pages of a matrix are needed, on average."""
    n_neurons: np.ndarray = np.zeros(-(-spec.end // page_size), np.int64)
    for pages, start, stop in page_runs(spec, axis, page_size):
        n_neurons[pages] += stop - start
    return float((1 - share**n_neurons).sum())
