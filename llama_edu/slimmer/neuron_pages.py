"""Which pages of a file the kept neurons of a token need, by arithmetic alone.

For each page of w_gate, w_up and w_down: the neurons that have a byte there are one run of them,
or two where a page begins in one row of w_down and ends in the next. A page is needed if one of
them is kept. This is much faster than to compute, and independent of the ledger and of any
instrument: the three have to agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from llama_edu.config import ModelConfig, output_name
from llama_edu.errors import RequestError
from llama_edu.files.layout import TensorSpec
from llama_edu.pages.arithmetic import page_range, pages_of
from llama_edu.pages.ranges import own_ranges, tensor_ranges

_PARTS = (("w_gate", 0), ("w_up", 0), ("w_down", 1))


class NeuronPages:
    """The pages of one file by what a token keeps of its feed-forward.

    Args:
        tensors: of one file, by our names. page_size: bytes of a page. n_pages: of the file.
    Attributes:
        always: (n_pages,) bool: pages that every token needs, whatever it keeps: attention, norms
            and output. With a tied output the embedding table is among them.
    """

    def __init__(
        self,
        tensors: Mapping[str, TensorSpec],
        config: ModelConfig,
        page_size: int,
        n_pages: int,
    ) -> None:
        self.n_pages, self._page_size = n_pages, page_size
        self._embedding = tensors["token_embedding"]
        self._runs = [
            [page_runs(tensors[f"layers.{i}.{part}"], axis, page_size) for part, axis in _PARTS]
            for i in range(config.n_layers)
        ]
        self.always = np.zeros(n_pages, bool)
        for name, spec in tensors.items():
            row_wise = name == "token_embedding" and output_name(tensors) != name
            if not row_wise and name.rpartition(".")[2] not in dict(_PARTS):
                self.always |= pages_of(own_ranges(spec), n_pages, page_size)

    def needed(self, masks: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
        """The pages that each token needs.

        Args:
            masks: (n_layers, T, hidden_dim) bool, True: kept, in the order of the file's neurons.
            tokens: T ids.
        Returns:
            (T, n_pages) bool, a new array.
        """
        pages = np.repeat(self.always[None], len(tokens), axis=0)
        for position, token in enumerate(tokens):
            row = tensor_ranges(self._embedding, 0, np.array([token]))
            pages[position] |= pages_of(row, self.n_pages, self._page_size)
        for kept, parts in zip(masks, self._runs, strict=True):
            count = np.zeros((len(tokens), kept.shape[1] + 1), np.int32)
            np.cumsum(kept, axis=1, out=count[:, 1:])
            for runs in parts:
                for page, start, stop in runs:
                    pages[:, page] |= count[:, stop] > count[:, start]
        return pages


#: (page numbers, first neuron, neuron after the last), (n,) int64 each, no page twice.
Runs = tuple[np.ndarray, np.ndarray, np.ndarray]


def page_runs(spec: TensorSpec, axis: int, page_size: int) -> list[Runs]:
    """Which neurons have a byte of this matrix in each of its pages: one run, or two.

    Args:
        spec: of w_gate, w_up or w_down. axis: of its shape, along which the neurons are.
    Raises:
        RequestError: a file that holds scales, or single numbers, apart from each other.
    """
    stored_axis = len(spec.shape) - 1 - axis if spec.transposed else axis
    if spec.group_size or (stored_axis and spec.strides):
        raise RequestError(
            f"{spec.name}: its numbers do not lie row after row with their scales, expected that; "
            f"convert the file to gguf"
        )
    size, n_neurons = spec.dtype.itemsize, spec.shape[axis]
    span = page_range(spec.offset, spec.n_bytes, page_size)
    pages = np.arange(span.start, span.stop)
    begin = np.maximum(pages * page_size - spec.offset, 0)  # of the page, in bytes of the tensor
    end = np.minimum((pages + 1) * page_size - spec.offset, spec.n_bytes)
    if stored_axis == 0:  # each neuron has one run of bytes
        run_bytes = spec.stored_shape[1] * size
        step = spec.strides[0] if spec.strides else run_bytes
        start = np.maximum(-(-(begin - run_bytes + 1) // step), 0)
        stop = np.minimum((end - 1) // step + 1, n_neurons)
        return [(pages, start, np.maximum(start, stop))]
    # each row holds a block of every few neurons: where does the page begin and end in its rows?
    n_blocks = spec.stored_shape[1]
    first, last = begin // size, (end - 1) // size
    a, b = first % n_blocks, last % n_blocks
    full = last - first >= n_blocks - 1
    wraps = ~full & (last // n_blocks > first // n_blocks)
    start = np.where(full, 0, a)
    stop = np.where(full | wraps, n_blocks, b + 1)
    per_block = spec.block_size
    more = (pages[wraps], np.zeros(int(wraps.sum()), np.int64), (b[wraps] + 1) * per_block)
    return [(pages, start * per_block, stop * per_block), more]
