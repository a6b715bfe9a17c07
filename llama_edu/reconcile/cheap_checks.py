"""What people look at instead of the steps, and which bugs it does not show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from llama_edu.reconcile.bugs import Planted
from llama_edu.reconcile.trace import run
from llama_edu.transformer.model import Model

#: Relative differences of logits up to this pass for rounding.
_ROUNDING = 1e-4


def cheap_checks(model: Model, planted: Planted, tokens: Sequence[int]) -> dict[str, bool]:
    """Whether a model with a bug in it passes each check; True where the bug stays hidden.

    Args:
        tokens: a text that the model knows something about, BOS first.
    """
    good = run(model, tokens, None).astype(np.float64)
    bad = run(planted.model, tokens, planted.tap).astype(np.float64)
    first = run(model, tokens[:1], None), run(planted.model, tokens[:1], planted.tap)
    scale = float(np.abs(first[0]).max())
    return {
        "one token": bool(np.abs(first[0] - first[1]).max() <= _ROUNDING * scale),
        "likeliest": bool((good.argmax(axis=1) == bad.argmax(axis=1)).all()),
        "loss": abs(nats(bad, tokens) / nats(good, tokens) - 1) < 0.01,
        "text": _text(lambda ids: run(model, ids, None), tokens[:4])
        == _text(lambda ids: run(planted.model, ids, planted.tap), tokens[:4]),
    }


#: What each check compares, in a few words.
MEANINGS = {
    "one token": "the logits after the first token",
    "likeliest": "the likeliest next token at each position of a text",
    "loss": "nats per token of a text, within 1 %",
    "text": "16 tokens written greedily",
}


def nats(logits: np.ndarray, tokens: Sequence[int]) -> float:
    """Mean of -log p of each token after the first."""
    scores = logits[:-1] - logits[:-1].max(axis=1, keepdims=True)
    chosen = scores[np.arange(len(scores)), np.asarray(tokens[1:])]
    return float(np.mean(np.log(np.exp(scores).sum(axis=1)) - chosen))


def _text(score: Callable[[list[int]], np.ndarray], prompt: Sequence[int]) -> list[int]:
    """Each step from the start of the text, as a planted tap needs it."""
    ids = list(prompt)
    for _ in range(16):
        ids.append(int(score(ids)[-1].argmax()))
    return ids
