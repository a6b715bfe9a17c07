"""A smaller vocabulary: fewer rows of the output matrix, and a text that needs more tokens.

A token that is left out is spelled with others, so nats per *token* of two vocabularies cannot be
compared. What is compared is the same text: per character, or per token of the full vocabulary,
each of which stands beside the tokens that spell it.

The trap: to keep exactly the ids of the text that is scored *improves* the loss, because the model
is told beforehand which words will not come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llama_edu.config import output_name
from llama_edu.errors import RequestError
from llama_edu.quality.losses import token_nats
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.transformer.model import Model


@dataclass(frozen=True)
class SmallerVocabulary:
    """A model that knows only some ids, and how a text is spelled with them.

    Attributes:
        model: with those rows alone. ids: (n,) int64, sorted: which; the model's own id is the
            place in it.
        spelling: id of the full vocabulary -> the model's own ids that spell it.
    """

    model: Model
    ids: np.ndarray
    spelling: dict[int, tuple[int, ...]]

    def spelled(self, text: Sequence[int]) -> list[int]:
        """A text of the full vocabulary in the model's own ids."""
        return [new for token in text for new in self.spelling[token]]

    def token_nats(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Nats of each token of the full vocabulary: the sum over those that spell it.

        Args:
            texts: of the full vocabulary; their first tokens are not scored.
        Returns:
            (n_tokens,) float64, in the order of losses.token_nats.
        """
        texts = [text for text in texts if len(text) > 1]
        nats = token_nats(self.model, [self.spelled(text) for text in texts])
        found, at = [], 0
        for text in texts:
            at += len(self.spelling[text[0]]) - 1
            for token in text[1:]:
                after = at + len(self.spelling[token])
                found.append(float(nats[at:after].sum()))
                at = after
        return np.array(found)


def with_vocabulary(
    model: Model, tokenizer: Tokenizer, wanted: Collection[int], texts: Iterable[Sequence[int]]
) -> SmallerVocabulary:
    """The model with the rows of some ids alone, and those that can spell everything.

    Kept beside `wanted` are all special pieces and all pieces of one byte.

    Args:
        texts: what has to be spelled: each token that is not kept, with as few pieces as possible.
    Raises:
        RequestError: a token that cannot be spelled with what is kept.
    """
    pieces = [tokenizer.piece(token) for token in range(len(tokenizer))]
    always = (t for t, piece in enumerate(pieces) if len(piece) <= 1)
    ids = np.array(sorted({*wanted, *tokenizer.special_ids, *always}), np.int64)
    new_id = {int(old): new for new, old in enumerate(ids)}
    by_piece = {pieces[old]: new for old, new in reversed(new_id.items()) if pieces[old]}
    spelling = {
        token: (new_id[token],) if token in new_id else _fewest(pieces[token], by_piece)
        for token in {t for text in texts for t in text}
    }
    names = {"token_embedding", output_name(model.weights)}
    weights = {name: w[ids] if name in names else w for name, w in model.weights.items()}
    smaller = replace(model, weights=weights, config=replace(model.config, vocab_size=len(ids)))
    return SmallerVocabulary(smaller, ids, spelling)


def _fewest(piece: bytes, by_piece: dict[bytes, int]) -> tuple[int, ...]:
    """The fewest ids whose pieces make these bytes; of several such, the longest piece first."""
    best: list[tuple[int, ...] | None] = [()]
    for end in range(1, len(piece) + 1):
        found: tuple[int, ...] | None = None
        for start in range(end):
            before, token = best[start], by_piece.get(piece[start:end])
            if before is None or token is None:
                continue
            if found is None or len(before) + 1 < len(found):
                found = (*before, token)
        best.append(found)
    result = best[-1]
    if not result:
        raise RequestError(
            f"vocabulary: the piece {piece[:40]!r} cannot be spelled with the pieces that stay, "
            f"expected every byte among them; keep its id"
        )
    return result
