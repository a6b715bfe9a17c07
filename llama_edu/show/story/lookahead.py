"""Where each alternative would have led: a few greedy tokens after each of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from llama_edu.llama import Llama
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.sampling import GREEDY

#: How many tokens are looked ahead.
N_AHEAD = 8

#: Reason -> what is shown for a text that cannot go on.
_ENDS = {"eos": "(end)", "context": "(the context is full)"}


def look_ahead(
    llama: Llama,
    before: Sequence[int],
    tokens: Sequence[int],
    *,
    cache: KVCache | None = None,
    n_ahead: int = N_AHEAD,
    stopping: threading.Event | None = None,
) -> Iterator[tuple[int, str]]:
    """What would follow each of some tokens, if the likeliest token were always taken from there.

    Args:
        before: the ids before the position, BOS included. tokens: the ids that could be at it.
        cache: holds the beginning of `before`; it is copied, so that its owner can go on.
        stopping: set by any thread, it ends everything before the next token is computed.
    Yields:
        (id, text), in the order of `tokens`; where a text would end, the text says so. Nothing
        follows BOS and the ends of a text.
    """
    stopping = stopping or threading.Event()
    capacity = min(llama.config.max_seq_len, len(before) + 1 + n_ahead)
    own = KVCache(llama.config, capacity)
    if cache is not None:
        own.copy_from(cache, min(cache.length, len(before)))
    for token in tokens:
        if token in (llama.tokenizer.bos_id, *llama.tokenizer.end_ids):
            yield token, ""
            continue
        text = ""
        generation = llama.generate_tokens([*before, token], n_ahead, GREEDY, cache=own)
        for following in generation:
            text += following.text
            if stopping.is_set():
                return
        if generation.reason == "length":  # the end of looking, perhaps inside a character
            text = text.removesuffix("\ufffd")
        yield token, text + _ENDS.get(generation.reason, "")
