"""One window of a text by one file, or by several at once: the piece of work that workers share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import NumericalError
from llama_edu.quality.losses import divergence, nats_of, scored_logits
from llama_edu.quality.windows import Window
from llama_edu.text import visible
from llama_edu.transformer.model import Model
from llama_edu.workers.opened import WeightsFile, opened


@dataclass(frozen=True)
class WindowPiece:
    """A window and the files that score it, the base first: paths and ids, nothing open."""

    files: tuple[WeightsFile, ...]
    window: Window


@dataclass(frozen=True, eq=False)
class WindowScores:
    """What several models say about the same T tokens; the first model is the base.

    Attributes:
        nats: for each model, (T,) float64: -log p of the token that came.
        kl: for each but the first, (T,) float64: KL divergence from the base, in nats.
        same: for each but the first, (T,) bool: whether its likeliest token is the base's.
    """

    nats: tuple[np.ndarray, ...]
    kl: tuple[np.ndarray, ...]
    same: tuple[np.ndarray, ...]


def score_window(piece: WindowPiece) -> WindowScores:
    """Score a window in this process, which opens each file once and keeps it.

    Raises:
        FileReplacedError: a file is no longer the one that the piece names.
        NumericalError: scores of a file are NaN or infinite; the file is named.
    """
    with ExitStack() as stack:
        models = [stack.enter_context(opened(file)).llama.model for file in piece.files]
        names = [file.name for file in piece.files]
        return window_scores(models, piece.window, names)


def window_scores(
    models: Sequence[Model], window: Window, names: Sequence[str] = ()
) -> WindowScores:
    """Score a window with models that are open, chunk by chunk in step.

    Args:
        names: of the models, for an error.
    """
    nats: list[list[np.ndarray]] = [[] for _ in models]
    kl: list[list[np.ndarray]] = [[] for _ in models[1:]]
    same: list[list[np.ndarray]] = [[] for _ in models[1:]]
    runs = [scored_logits(model, window.ids, window.first) for model in models]
    while True:
        base: np.ndarray | None = None
        for number, run in enumerate(runs):
            try:
                found = next(run, None)
            except NumericalError as error:
                name = f"{visible(names[number])}: " if names else ""
                raise NumericalError(f"{name}{error}") from None
            if found is None:
                return WindowScores(_joined(nats), _joined(kl), _joined(same))
            scores, following = found
            nats[number].append(nats_of(scores, following))
            if base is None:
                base = scores
                continue
            distance, is_same = divergence(base, scores)
            kl[number - 1].append(distance)
            same[number - 1].append(is_same)


def _joined(parts: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, ...]:
    return tuple(np.concatenate(part) for part in parts)
