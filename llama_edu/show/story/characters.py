"""Characters that several tokens make together: an emoji is often three tokens of a byte or two.

Only the last of them adds a text; the others, alone, are bytes that mean nothing to a reader.
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_edu.show.story.choice import Choice
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.tokenizer.streaming import StreamDecoder


def character_runs(choices: Sequence[Choice], tokenizer: Tokenizer) -> list[range]:
    """For each choice, the indices of those that make the same text together, its own included.

    A choice whose token is text by itself, or stands for no bytes, is alone.
    """
    runs: list[range] = []
    decoder = StreamDecoder(tokenizer, at_start=False)
    for index, choice in enumerate(choices):
        first = len(runs)
        is_last = index + 1 == len(choices)
        # not choice.text, of which a part may be held back
        token = choice.chosen.id
        if decoder.push(token) or is_last or not tokenizer.piece(token):
            run = range(first, index + 1)
            runs += [run] * len(run)
    return runs
