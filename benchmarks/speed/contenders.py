"""Who runs: our kernels and arithmetics, and the memory, each like a peer of peers.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import llama_edu
from llama_edu.bench.stopwatch import Spent, Stopwatch
from llama_edu.matmul.arithmetic import Arithmetic
from llama_edu.matmul.choice import Kernels
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import score_next

NUMPY, JIT, JIT_INT8 = "llama_edu, numpy", "llama_edu, jit float32", "llama_edu, jit int8"
LLAMA_CPP, FLASH = "llama.cpp", "llama.cpp, flash attention"
TORCH, DOT = "torch loop, float32", "numpy.dot, float32"

#: What tables and the figure call ours, in their order.
OURS = {NUMPY: "numpy", JIT: "jit float32", JIT_INT8: "jit int8"}

#: A matrix larger than the cache of a processor: what is read comes from memory.
_MATRIX_BYTES, _N_PASSES = 256 * 2**20, 4

#: What one call of `dot` reads.
DOT_BYTES = _N_PASSES * _MATRIX_BYTES


class Ours:
    """One way of multiplying, with the interface of a peer; `threads` None is the default."""

    def __init__(
        self,
        path: Path,
        n_positions: int,
        threads: int | None,
        *,
        kernels: Kernels,
        arithmetic: Arithmetic,
    ) -> None:
        self.llama = llama_edu.load(path, kernels=kernels, arithmetic=arithmetic, threads=threads)
        self._cache = KVCache(self.llama.config, n_positions)

    def prefill(self, tokens: Sequence[int]) -> None:
        """Read all tokens from an empty context."""
        self._cache.truncate(0)
        score_next(self.llama.model, tokens, self._cache)

    def decode(self, n_tokens: int) -> Spent:
        """What n_tokens single tokens after the last prefill take."""
        model, length = self.llama.model, self._cache.length
        stopwatch = Stopwatch()
        for token in range(5, 5 + n_tokens):
            score_next(model, [token], self._cache)
        spent = stopwatch.spent()
        self._cache.truncate(length)
        return spent

    def close(self) -> None:
        """Unmap the file."""
        self.llama.close()


def ways(*, rounded: bool) -> dict[str, tuple[Kernels, Arithmetic]]:
    """Name -> kernels and arithmetic of ours; int8 where it is a default, jit if it is there."""
    found: dict[str, tuple[Kernels, Arithmetic]] = {NUMPY: ("numpy", "float32")}
    if find_spec("numba") is not None:
        found[JIT] = ("jit", "float32")
        if rounded:
            found[JIT_INT8] = ("jit", "int8")
    return found


def dot() -> None:
    """Read DOT_BYTES as numpy does that at its best: one matrix times one vector."""
    matrix, vector = _operands()
    for _ in range(_N_PASSES):
        np.dot(matrix, vector)


@cache
def _operands() -> tuple[np.ndarray, np.ndarray]:
    width = 4096
    return np.ones((_MATRIX_BYTES // 4 // width, width), np.float32), np.ones(width, np.float32)
