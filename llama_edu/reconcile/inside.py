"""Looking inside a trace: what each layer would say, and how far it moves each token's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from llama_edu.config import output_name
from llama_edu.table import Rows
from llama_edu.transformer import kernels
from llama_edu.transformer.model import Model


@dataclass(frozen=True, eq=False)
class LogitLens(Rows):
    """The likeliest next token if the model stopped after each layer.

    Attributes:
        ids: (n_layers + 1, T) int64; row 0 is the embedding alone, row n_layers the model's answer.
        probabilities: (n_layers + 1, T) float32, of these tokens.
    Source: nostalgebraist, "interpreting GPT: the logit lens" (2020).
    """

    ids: np.ndarray
    probabilities: np.ndarray

    def to_rows(self) -> list[dict[str, object]]:
        """One row per layer and position; layer 0 is the embedding alone."""
        return [
            {"layer": layer, "position": position, "id": int(self.ids[layer, position]),
             "probability": float(self.probabilities[layer, position])}
            for layer, position in np.ndindex(*self.ids.shape)
        ]  # fmt: skip

    @property
    def settled(self) -> np.ndarray:
        """(T,) the layer after which the likeliest token no longer changes."""
        differs = self.ids != self.ids[-1]
        return np.where(differs.any(axis=0), len(differs) - differs[::-1].argmax(axis=0), 0)


def logit_lens(model: Model, steps: Mapping[str, np.ndarray]) -> LogitLens:
    """Apply the final norm and the output matrix to x after each layer.

    Args:
        steps: a trace with "embedding" and every "layers.N.out".
    """
    ids, probabilities = [], []
    for x in _residuals(model.config.n_layers, steps):
        logits = model.linear(model.norm(x, "final_norm"), output_name(model.weights))
        chances = kernels.softmax(logits)
        ids.append(chances.argmax(axis=1))
        probabilities.append(chances.max(axis=1))
    return LogitLens(np.array(ids), np.array(probabilities))


def sizes(n_layers: int, steps: Mapping[str, np.ndarray]) -> np.ndarray:
    """Root mean square of x, before the layers and after each: (n_layers + 1, T) float64."""
    return np.array([_rms(x) for x in _residuals(n_layers, steps)])


def moves(n_layers: int, steps: Mapping[str, np.ndarray]) -> np.ndarray:
    """How far each layer moves x, over the size of x before it: (n_layers, T) float64."""
    residuals = _residuals(n_layers, steps)
    return np.array([_rms(after - before) / _rms(before) for before, after in pairwise(residuals)])


def _residuals(n_layers: int, steps: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return [steps["embedding"], *(steps[f"layers.{i}.out"] for i in range(n_layers))]


def _rms(x: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(np.square(x, dtype=np.float64), axis=-1))
