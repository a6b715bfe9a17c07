"""What people look at instead of the steps, and which bugs it does not show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llama_edu.reconcile.bugs import Planted
from llama_edu.reconcile.trace import run
from llama_edu.transformer.model import Model
from llama_edu.transformer.tap import Tap

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
        "likeliest": bool(
            (good.argmax(axis=1) == bad.argmax(axis=1)).all() and not np.isnan(bad).any()
        ),
        "loss": abs(nats(bad, tokens) / nats(good, tokens) - 1) < 0.01,
        "text": greedy(model, tokens[:4]) == greedy(planted.model, tokens[:4], planted.tap),
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


def greedy(
    model: Model, prompt: Sequence[int], tap: Tap | None = None, n_tokens: int = 16
) -> list[int]:
    """The prompt and n_tokens more, always the likeliest; an end of the text does not count.

    Slow: each token is computed from the start of the text, as the tap of a planted bug needs it.
    """
    ids = list(prompt)
    for _ in range(n_tokens):
        ids.append(int(run(model, ids, tap)[-1].argmax()))
    return ids
