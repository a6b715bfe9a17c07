"""Which tokens end a text, where the files of a model name several.

In a Hugging Face folder `eos_token_id` is one id or a list, in generation_config.json or in
config.json; as in transformers the former wins, and both win over the tokenizer's own end.
Source: GenerationConfig of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from llama_edu.files.layout import TypedValue
from llama_edu.vocabulary import Vocabulary

#: GGUF's key for EOS after every text.
ADD_EOS = "tokenizer.ggml.add_eos_token"

_STATED = ("generation_config.json:eos_token_id", "config.json:eos_token_id")


def stated_ends(carried: Mapping[str, TypedValue]) -> tuple[int, ...] | None:
    """The ids that the JSON files of a folder name as ends; None where they name none."""
    for key in _STATED:
        value = carried[key].value if key in carried else None
        ids = value if isinstance(value, list) else [value]
        found = tuple(token for token in ids if type(token) is int and token >= 0)
        if found:
            return found
    return None


def ends_of(
    own: Sequence[int], stated: Sequence[int] | None, n_ids: int
) -> tuple[int, tuple[int, ...]]:
    """EOS and all ends, EOS first: the tokenizer's own where it is among those that are stated.

    Args:
        own: ends of the tokenizer, its EOS first. stated: what wins over them.
        n_ids: larger ids are none.
    """
    ends = [token for token in dict.fromkeys(own if stated is None else stated) if token < n_ids]
    if not ends:
        ends = list(own)
    eos = next((token for token in own if token in ends), ends[0] if ends else -1)
    return eos, tuple(dict.fromkeys((eos, *ends))) if eos >= 0 else ()


def with_stated_ends(vocabulary: Vocabulary, carried: Mapping[str, TypedValue]) -> Vocabulary:
    """The vocabulary with the ends that the files of its folder name, and BOS where it has none."""
    begin = carried.get("config.json:bos_token_id")
    token = begin.value if begin is not None and type(begin.value) is int else -1
    if vocabulary.bos_id < 0 <= token < len(vocabulary):
        vocabulary = replace(vocabulary, bos_id=token)
    stated = stated_ends(carried)
    if stated is None:
        return vocabulary
    eos, ends = ends_of(vocabulary.end_ids[:1], stated, len(vocabulary))
    return replace(vocabulary, eos_id=eos, other_end_ids=ends[1:])
