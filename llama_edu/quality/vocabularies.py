"""Do two models cut a text into the same tokens? Only then can their losses per token be paired."""

from __future__ import annotations

from llama_edu.errors import RequestError
from llama_edu.llama import Llama
from llama_edu.text import quoted


def check_same_vocabulary(a: Llama, b: Llama, text: str) -> None:
    """Raise RequestError, which names the first difference, unless both have one vocabulary.

    Args:
        text: cut by both as well: rules of cutting have no place of their own in a vocabulary.
    """
    ours, theirs = a.tokenizer, b.tokenizer
    names = [llama.checkpoint.paths[0].name for llama in (a, b)]

    def refuse(what: str, first: object, second: object) -> None:
        raise RequestError(
            f"{names[1]}: {what} {second}, expected {first} as in {names[0]}; losses per token of "
            f"two vocabularies cannot be compared"
        )

    if len(ours) != len(theirs):
        refuse("pieces in its vocabulary:", f"{len(ours):,}", f"{len(theirs):,}")
    for token in range(len(ours)):
        mine, other = ours.piece(token), theirs.piece(token)
        if mine != other:
            refuse(f"token {token} is", quoted(mine), quoted(other))
    if ours.adds_bos != theirs.adds_bos:
        starts = ["a text begins with BOS" if t.adds_bos else "no BOS" for t in (ours, theirs)]
        refuse("how a text begins:", *starts)
    if ours.adds_bos and ours.bos_id != theirs.bos_id:
        refuse("BOS is", ours.bos_id, theirs.bos_id)
    ids, others = ours.encode(text, bos=False), theirs.encode(text, bos=False)
    if ids != others:
        at = next(
            (i for i, (x, y) in enumerate(zip(ids, others, strict=False)) if x != y),
            min(len(ids), len(others)),
        )
        found = [str(cut[at]) if at < len(cut) else "nothing" for cut in (ids, others)]
        refuse(f"its token {at} of the text is", *found)
