"""A mean over tokens with its standard error over windows.

Tokens of one window depend on each other: a chapter is hard as a whole. So the windows are what is
independent, and the spread of their means says how well the mean is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import RequestError


@dataclass(frozen=True)
class Estimate:
    """A mean and how well it is known.

    Attributes:
        mean: over all tokens, whatever window they are in.
        error: its standard error over windows; None for one window, which tells none.
    """

    mean: float
    error: float | None

    def shown(self, digits: int) -> str:
        """As text: "0.012 ± 0.003"."""
        spread = "" if self.error is None else f" ± {self.error:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread}"


def estimate(windows: Sequence[np.ndarray]) -> Estimate:
    """The mean of all numbers, and its standard error over windows, which may differ in length.

    Args:
        windows: for each, (n,) numbers or bools, n >= 1.
    Raises RequestError where there is no number.
    Source: the variance of a ratio estimator, Cochran, Sampling Techniques, 3rd edition, 6.4.
    """
    if not sum(map(len, windows)):
        raise RequestError("estimate: no window has a number, expected one or more")
    sums = np.array([window.sum(dtype=np.float64) for window in windows])
    sizes = np.array([len(window) for window in windows], np.float64)
    mean = float(sums.sum() / sizes.sum())
    n = len(windows)
    if n < 2:
        return Estimate(mean, None)
    spread = sums - mean * sizes
    variance = float((spread**2).sum()) * n / (n - 1)
    return Estimate(mean, math.sqrt(variance) / float(sizes.sum()))


def token_error(windows: Sequence[np.ndarray]) -> float | None:
    """The standard error of the mean over tokens, taken as independent, as llama.cpp prints it."""
    numbers = np.concatenate(windows)
    if len(numbers) < 2:
        return None
    return float(numbers.std() / math.sqrt(len(numbers) - 1))
