"""A tiny model for panels: it never ends a text by itself, and can be made to wait for permits."""

from __future__ import annotations

import threading

import llama_edu
from helpers.small_models import (
    llama2c_v0,
    random_weights,
    small_config,
    small_vocabulary,
    tokenizer_bin,
)

#: With it the tiny model never draws BOS or EOS, whose scores are 0: five others are above.
TOP_K = 5


def write_tiny(folder, rng, *, pieces=None):
    """Write tiny.bin and its tokenizer.bin; returns both paths."""
    config = small_config()
    weights = random_weights(config, rng)
    weights["output"][1:3] = 0
    model, tokenizer = folder / "tiny.bin", folder / "tokenizer.bin"
    model.write_bytes(llama2c_v0(config, weights))
    tokenizer.write_bytes(tokenizer_bin(pieces or small_vocabulary()))
    return model, tokenizer


def open_tiny(folder, rng, **kwargs):
    """The tiny model, loaded."""
    model, tokenizer = write_tiny(folder, rng, **kwargs)
    return llama_edu.load(model, tokenizer=tokenizer)


class Turnstile:
    """Makes every generation of a model wait for one permit before each token."""

    def __init__(self, llama, monkeypatch):
        self._permits = threading.Semaphore(0)
        original = llama.generate_tokens

        def held_back(steps):
            while True:
                assert self._permits.acquire(timeout=20), "nobody let the next token pass"
                try:
                    yield next(steps)
                except StopIteration:
                    return

        def generate_tokens(*args, **kwargs):
            generation = original(*args, **kwargs)
            generation._steps = held_back(generation._steps)
            return generation

        monkeypatch.setattr(llama, "generate_tokens", generate_tokens)

    def let_pass(self, n):
        """Allow n more tokens."""
        self._permits.release(n)
