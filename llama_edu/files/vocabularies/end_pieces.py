"""Pieces that end a text by their names, as llama.cpp finds them in a GGUF file.

Files of instructed models often name only one end in their keys, and not the one with which an
answer ends. Where a file has no key for it, llama.cpp goes by the names below; pieces for filling
in code end a text as well, the first one of each group.
Source: `llama_vocab::impl::load` in llama-vocab.cpp of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable

END_NAMES = frozenset(
    name.encode()
    for name in (
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
        "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<EOT>", "_<EOT>",
        "[EOT]", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<end_of_utterance>", "<eos>",
        "[e~[", "<turn|>", "<|tool_response>",
    )
)  # fmt: skip

_FIRST_OF = (
    (b"<|fim_pad|>", b"<fim-pad>", b"<fim_pad>", b"<PAD>", b"[PAD]"),
    (b"<|fim_repo|>", b"<|repo_name|>", b"<fim-repo>", b"<REPO>", b"<reponame>"),
    (b"<|file_sep|>",),
)

#: In vocabularies that have these, "<|end|>" ends a part of an answer only.
_PARTS_FOLLOW = (b"<|return|>", b"<|call|>")


def ends_by_name(special: Iterable[tuple[int, bytes]]) -> tuple[int, ...]:
    """The ids of those special pieces that end a text, in ascending order.

    Args:
        special: id and name of each control and user-defined piece, in ascending order.
    """
    ids: dict[bytes, int] = {}
    for token, name in special:
        ids.setdefault(name, token)
    found = {token for name, token in ids.items() if name in END_NAMES}
    if all(name in ids for name in _PARTS_FOLLOW):
        found.discard(ids.get(b"<|end|>", -1))
    for group in _FIRST_OF:
        present = [ids[name] for name in group if name in ids]
        found |= {min(present)} if present else set()
    return tuple(sorted(found))
