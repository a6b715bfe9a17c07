"""What several tokens need together: the union of their neurons, by how many tokens there are."""

from __future__ import annotations

import numpy as np


class Unions:
    """Masks of one text after the other, as the share of neurons that n neighboring tokens need.

    Runs of 1, 2, 4, 8 ... tokens lie side by side from the start of each text; what is left at its
    end is in no run of that length. Memory: the masks of the text that is being seen.
    """

    def __init__(self, n_layers: int) -> None:
        self._chunks: list[list[np.ndarray]] = [[] for _ in range(n_layers)]
        self._totals: dict[int, tuple[float, int]] = {}  # length -> sum of shares, how many

    def see(self, layer: int, needed: np.ndarray) -> None:
        """The next tokens of one layer: (T, hidden_dim) bool, True: needed; is not kept as it is.

        Every layer is told of every token; the layers may take turns.
        """
        self._chunks[layer].append(np.array(needed))

    def end_text(self) -> None:
        """The text is complete: count its runs, and forget its masks."""
        for chunks in self._chunks:
            if chunks:
                self._count(np.concatenate(chunks))
                chunks.clear()

    def _count(self, masks: np.ndarray) -> None:
        n = 1
        while n <= len(masks):
            n_runs = len(masks) // n
            runs = masks[: n_runs * n].reshape(n_runs, n, -1)
            total, n_before = self._totals.get(n, (0.0, 0))
            shares = runs.any(axis=1).mean(axis=1)
            self._totals[n] = total + float(shares.sum()), n_before + n_runs
            n *= 2

    def fractions(self) -> dict[int, float]:
        """Number of tokens -> the share of neurons that they need, mean of all runs and layers."""
        return {n: total / n_runs for n, (total, n_runs) in self._totals.items()}
