"""What the matrices of the layers are multiplied with: the steps of forward(), and their norms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.quality.losses import token_nats
from llama_edu.transformer.model import Model

#: Step of a layer -> the matrices that it is the input of.
READERS: dict[str, tuple[str, ...]] = {
    "attention_norm": ("wq", "wk", "wv"),
    "mixed": ("wo",),
    "ffn_norm": ("w_gate", "w_up"),
    "activated": ("w_down",),
}
_STEP_OF = {matrix: step for step, matrices in READERS.items() for matrix in matrices}

#: Numbers that are kept for thresholds; of longer texts every second, third ... position.
MOST_NUMBERS = 48 * 2**20


def is_input(step: str) -> bool:
    """Whether a step, "layers.2.mixed" for example, is the input of a matrix of its layer."""
    return step.startswith("layers.") and step.rpartition(".")[2] in READERS


def input_of(matrix: str) -> str:
    """The step whose numbers a matrix multiplies: "layers.2.w_up" -> "layers.2.ffn_norm"."""
    layer, _, kind = matrix.rpartition(".")
    return f"{layer}.{_STEP_OF[kind]}"


@dataclass(frozen=True)
class Inputs:
    """The inputs of all matrices on a text.

    Attributes:
        norms: step -> (in_features,) float64, the root of the sum of squares over all positions.
        sizes: step -> (n,) float32, |x| of the positions that were kept, sorted.
    """

    norms: dict[str, np.ndarray]
    sizes: dict[str, np.ndarray]


def inputs_on(model: Model, texts: Sequence[Sequence[int]]) -> Inputs:
    """Run texts through a model and look at what its matrices get.

    Raises RequestError where no text has two tokens.
    """
    config = model.config
    n_positions = sum(len(text) for text in texts)
    width = config.n_layers * (2 * config.dim + config.q_dim + config.hidden_dim)
    every = 1 + n_positions * width // MOST_NUMBERS
    squares: dict[str, np.ndarray] = {}
    parts: dict[str, list[np.ndarray]] = {}

    def look(name: str, x: np.ndarray) -> np.ndarray:
        if is_input(name):
            squares[name] = squares.get(name, 0) + (x.astype(np.float64) ** 2).sum(axis=0)
            parts.setdefault(name, []).append(np.abs(x[::every]).reshape(-1))
        return x

    token_nats(model, texts, tap=look)
    return Inputs(
        {name: np.sqrt(square) for name, square in squares.items()},
        {name: np.sort(np.concatenate(part)) for name, part in parts.items()},
    )
