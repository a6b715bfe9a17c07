"""What an independent program computed, and how far from it rounding alone may lead.

An error is relative and belongs to one step and one position: the length of the difference of two
vectors over the length of the reference's. Positions are kept apart because their sizes differ: in
some models the numbers of BOS are a hundred times as large as all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from llama_edu.reconcile import float64
from llama_edu.transformer.model import Model

#: Steps with so few numbers at a position that their rounding may be tiny there by chance; that of
#: the worst position is the measure for all.
_FEW = ("router", "shares")


class Reference(Protocol):
    """The steps of one text by a program that is trusted."""

    @property
    def source(self) -> str:
        """What computed them."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """The text."""

    @property
    def names(self) -> Sequence[str]:
        """The steps that can be compared, in the order of the computation."""

    def errors(self, name: str, x: np.ndarray) -> np.ndarray:
        """The relative error of each position of one step: (T,) float64; inf where x is NaN."""

    def rounding(self, name: str) -> np.ndarray:
        """The relative error that float32 alone causes there: (T,) float64."""


@dataclass(frozen=True, eq=False)
class WholeReference:
    """A Reference that has every number.

    Attributes:
        steps: name -> float64 (or float32) of the shape in tap.py.
        float32_errors: name -> (T,) relative errors of a computation in float32 without a bug.
    """

    source: str
    tokens: tuple[int, ...]
    steps: Mapping[str, np.ndarray]
    float32_errors: Mapping[str, np.ndarray]

    @property
    def names(self) -> Sequence[str]:
        """The steps that can be compared, in the order of the computation."""
        return list(self.steps)

    def errors(self, name: str, x: np.ndarray) -> np.ndarray:
        """See Reference."""
        return relative_errors(name, x, self.steps[name])

    def rounding(self, name: str) -> np.ndarray:
        """See Reference."""
        return self.float32_errors[name]


def float64_reference(model: Model, tokens: Sequence[int]) -> WholeReference:
    """The definition in float64, with what float32 makes of the same formulas as the measure."""
    return reference_of(
        "numpy in float64",
        tokens,
        float64.steps(model, tokens),
        float64.steps(model, tokens, np.float32),
    )


def reference_of(
    source: str,
    tokens: Sequence[int],
    exact: Iterable[tuple[str, np.ndarray]],
    rounded: Iterable[tuple[str, np.ndarray]],
) -> WholeReference:
    """A reference from two computations of all steps, the second in float32."""
    steps: dict[str, np.ndarray] = {}
    measure: dict[str, np.ndarray] = {}
    for (name, x), (_, y) in zip(exact, rounded, strict=True):
        errors = relative_errors(name, y, x)
        if name.rpartition(".")[2] in _FEW:
            errors[:] = errors.max()
        steps[name], measure[name] = x, errors
    return WholeReference(source, tuple(tokens), steps, measure)


def relative_errors(name: str, x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The error of each position, over the size of the reference there.

    Args:
        x, reference: one step, of the shape in tap.py, of any float type.
    Returns:
        (T,) float64; inf where x is NaN or infinite, or hides another future than the reference.
    """
    if x.shape != reference.shape:
        return np.full(len(by_position(name, reference)), np.inf)
    a, b = by_position(name, x), by_position(name, reference)
    hidden = np.isneginf(b)
    other = (np.isneginf(a) != hidden).any(axis=1)
    a, b = np.where(hidden, 0, a), np.where(hidden, 0, b)
    with np.errstate(invalid="ignore", over="ignore"):
        errors = length(a - b) / np.maximum(length(b), np.finfo(np.float64).tiny)
    errors[other | ~np.isfinite(errors)] = np.inf
    return errors


def by_position(name: str, x: np.ndarray) -> np.ndarray:
    """One row for each position: (T, n) float64, a copy. Scores and weights have heads first."""
    if name.rpartition(".")[2] in ("scores", "weights"):
        x = x.swapaxes(0, 1)
    return x.reshape(len(x), -1).astype(np.float64)


def length(rows: np.ndarray) -> np.ndarray:
    """The Euclidean length of each row: (T,) float64."""
    return np.sqrt((rows * rows).sum(axis=1))
