"""The ids with which a model begins to write."""

from __future__ import annotations

from llama_edu.errors import RequestError
from llama_edu.tokenizer.protocol import Tokenizer


def prompt_ids(tokenizer: Tokenizer, text: str, *, special: bool = False) -> list[int]:
    """The ids of a prompt, never none: an empty one is `first_id`.

    Args:
        special: as for `encode`.
    Raises:
        RequestError: the prompt is empty and the model has neither BOS nor EOS.
    """
    return tokenizer.encode(text, special=special) or [first_id(tokenizer)]


def first_id(tokenizer: Tokenizer) -> int:
    """What an empty text begins with: BOS, or EOS for a model that has none.

    A model that puts no BOS before its texts still has to start from something.
    """
    for token in (tokenizer.bos_id, tokenizer.eos_id):
        if token >= 0:
            return token
    raise RequestError(
        "prompt: is empty, and the model has neither BOS nor EOS to start from; give one"
    )
