"""A smaller vocabulary: how a text is spelled, losses per token of the full one, and the trap."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.random_models import random_model, random_text
from helpers.small_models import small_vocabulary

from llama_edu.errors import RequestError
from llama_edu.quality.losses import token_nats
from llama_edu.slimmer.ways.vocabulary import with_vocabulary


class Pieces:
    """Of a tokenizer, what is needed: pieces and special ids."""

    special_ids = frozenset({0, 1, 2})

    def __init__(self, pieces):
        self._pieces = pieces

    def __len__(self):
        return len(self._pieces)

    def piece(self, token):
        return self._pieces[token]


@pytest.fixture
def tokenizer():
    return Pieces([b"", b"", b"", *(text for text, _ in small_vocabulary()[3:])])


def test_every_id_kept_is_the_same_model(tokenizer):
    for seed in (1, 3):  # an output matrix of its own, and tied
        model, texts = random_model(seed), [random_text(1), random_text(2, 9)]
        smaller = with_vocabulary(model, tokenizer, range(271), texts)
        assert smaller.spelled(texts[0]) == texts[0]
        found, expected = smaller.token_nats(texts), token_nats(model, texts)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_token_that_is_left_out_is_spelled_with_the_fewest_pieces(tokenizer):
    pieces = {piece: t for t, piece in enumerate(tokenizer._pieces) if len(piece) > 1}
    the, he = pieces[b" the"], pieces[b"he"]
    text = [1, the, he, the]
    smaller = with_vocabulary(random_model(1), tokenizer, [pieces[b" t"], he], [text])
    assert (
        len(smaller.ids) == smaller.model.config.vocab_size == len(smaller.model.weights["output"])
    )
    spelled = [tokenizer.piece(int(smaller.ids[t])) for t in smaller.spelled(text)]
    assert spelled == [b"", b" t", b"he", b"he", b" t", b"he"]
    by_bytes = with_vocabulary(random_model(1), tokenizer, [], [text])
    assert len(by_bytes.spelled(text)) == 1 + 4 + 2 + 4


def test_the_nats_of_a_token_are_those_of_the_tokens_that_spell_it(tokenizer):
    model, texts = random_model(1), [[1, 262, 5, 261], [7], [261, 262, 9]]
    smaller = with_vocabulary(model, tokenizer, [], texts)
    found = smaller.token_nats(texts)
    single = token_nats(smaller.model, [smaller.spelled(text) for text in texts if len(text) > 1])
    lengths = [[len(smaller.spelling[t]) for t in text] for text in texts]
    assert lengths == [[1, 2, 1, 4], [1], [4, 2, 1]]
    at, expected = 0, []
    for text, counts in zip(texts, lengths, strict=True):
        if len(text) < 2:
            continue
        at += counts[0] - 1
        for n in counts[1:]:
            expected.append(single[at : at + n].sum())
            at += n
    np.testing.assert_allclose(found, expected)
    assert at == len(single)


def test_the_trap_to_keep_the_ids_of_the_scored_text_improves_the_loss(tokenizer):
    """Nothing was learned: the model was told which pieces will not come."""
    model, text = random_model(1), [*random_text(1), 261, 262, 70, 262, 264]
    hinted = with_vocabulary(model, tokenizer, text, [text])
    assert len(hinted.ids) < 271
    assert (hinted.token_nats([text]) <= token_nats(model, [text]) + 1e-5).all()
    # an honest choice, from another text, has to spell and pays for it
    honest = with_vocabulary(model, tokenizer, [], [text])
    assert len(honest.spelled(text)) > len(text)
    nats = [m.token_nats([text]).sum() for m in (hinted, honest)]
    assert nats[0] < token_nats(model, [text]).sum() - 0.01 < nats[1]


def test_what_cannot_be_spelled_is_said():
    tokenizer = Pieces([b"", b"", b"", b"a", b"ab"])
    model = random_model(1, vocab_size=5)
    with pytest.raises(RequestError, match="the piece b'ab' cannot be spelled"):
        with_vocabulary(model, tokenizer, [3], [[1, 4]])
