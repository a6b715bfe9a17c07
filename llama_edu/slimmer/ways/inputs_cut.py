"""The smallest inputs of every matrix left out, as TEAL does.

Where an input is zero, the column of the matrix that it multiplies is not needed. Those are bytes,
and no pages: a matrix is stored row by row, and a column has a number on nearly every page.
Source: Liu et al., "Training-Free Activation Sparsity in Large Language Models" (TEAL), arXiv
2408.14690. There the share differs from matrix to matrix; here it is the same for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from llama_edu.slimmer.ways.matrix_inputs import READERS, is_input
from llama_edu.slimmer.ways.shares import check_share
from llama_edu.transformer.model import Model


def thresholds(sizes: Mapping[str, np.ndarray], share: float) -> dict[str, float]:
    """For each step, the size up to which an input is left out; "share" of those of a text are.

    Args:
        sizes: of matrix_inputs.inputs_on: step -> |x|, sorted.
    Raises RequestError for a share outside 0 to 1.
    """
    check_share(share, "inputs cut")
    return {
        name: float(size[n - 1]) if (n := int(share * len(size))) else -1.0
        for name, size in sizes.items()
    }


class InputsCut:
    """A tap that zeroes every input of a matrix whose size is at most its threshold.

    It counts: `n_seen` and `n_cut`, step -> numbers so far.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = limits
        self.n_seen: Counter[str] = Counter()
        self.n_cut: Counter[str] = Counter()

    def __call__(self, name: str, x: np.ndarray) -> np.ndarray:
        """The step with its small numbers zeroed, in place."""
        if is_input(name):
            small = np.abs(x) <= self._limits[name]
            x[small] = 0
            self.n_seen[name] += x.size
            self.n_cut[name] += int(small.sum())
        return x

    def bytes_left_out(self, model: Model) -> float:
        """Bytes of columns that a token did not need, on average over all that were seen."""
        return sum(
            self.n_cut[name] / seen * model.weights[f"{name.rpartition('.')[0]}.{matrix}"].nbytes
            for name, seen in self.n_seen.items()
            for matrix in READERS[name.rpartition(".")[2]]
        )
