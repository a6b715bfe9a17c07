"""Where a text ends: end tokens, stop strings; and what is known of each token."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers.small_models import random_weights, small_config
from helpers.small_tokenizers import small_tokenizer
from helpers.tiny import TOP_K, open_tiny

from llama_edu.errors import RequestError
from llama_edu.rope import rope_frequencies
from llama_edu.tokenizer.choice import tokenizer_of
from llama_edu.tokenizer.prompt import first_id, prompt_ids
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import Generation
from llama_edu.transformer.generated_text import GeneratedText
from llama_edu.transformer.model import Model, forward
from llama_edu.transformer.sampling import GREEDY, SamplingSettings

#: No piece of it occurs twice: each is followed by the next one.
STOPS = ["fox", "x t", "e fox t", "\U0001f600", "d\U0001f600n", "n", "the"]
TEXT = "the fox tld\U0001f600n"


def scripted(config, ids):
    """A model in which position p of the script is followed by position p + 1."""
    weights = {name: np.zeros_like(a) for name, a in random_weights(
        config, np.random.default_rng(0)).items()}  # fmt: skip
    weights["final_norm"][:] = 1
    followers = dict(pairwise(ids))
    assert len(followers) == len(ids) - 1, "every token of a script has one follower"
    for i, (token, follower) in enumerate(followers.items()):
        weights["token_embedding"][token, i] = 1
        weights["output"][follower, i] = 10
    return Model(config, weights, rope_frequencies(config))


def generation(tokenizer, text, n_tokens=40, end=(2,), **kwargs):
    """A greedy text that is what it is told to be, byte by byte and piece by piece."""
    config = small_config()
    ids = [1, *dict.fromkeys(tokenizer.encode(text, bos=False)), *end]
    model = scripted(config, ids)
    rng = np.random.default_rng(0)
    return Generation(model, tokenizer, [1], n_tokens, GREEDY, rng, **kwargs), ids


def streamed(made):
    """Every state of the screen while the text streams."""
    shown = [""]
    for token in made:
        shown.append(shown[-1] + token.text)
    return shown


@pytest.mark.parametrize("stop", STOPS)
def test_no_part_of_a_stop_string_is_ever_shown(tokenizer, stop):
    plain, _ = generation(tokenizer, TEXT)
    text = streamed(plain)[-1]
    assert plain.reason == "eos" and plain.text == text and plain.stopped_by == ""
    assert stop in text == TEXT
    made, _ = generation(tokenizer, TEXT, stop=[stop, "never there"])
    before = text[: text.index(stop)]
    for shown in streamed(made):
        assert before.startswith(shown)
    assert made.text == before and (made.reason, made.stopped_by) == ("stop", stop)
    # the ids that spell it are kept, as the last ones
    assert tokenizer.decode(made.tokens).startswith(before + stop[:1])
    assert stop in tokenizer.decode(made.tokens)


@pytest.mark.parametrize("stop", ["n, and no more", "n?", "\U0001f600!"])
def test_what_was_held_back_is_given_out_where_the_text_ends_otherwise(tokenizer, stop):
    plain, _ = generation(tokenizer, TEXT)
    text = streamed(plain)[-1]
    made, _ = generation(tokenizer, TEXT, stop=stop)
    assert streamed(made)[-1] == made.text == text and made.reason == "eos"
    n = len(plain.tokens) - 1
    for n_tokens in range(1, n):
        short, _ = generation(tokenizer, TEXT, n_tokens)
        held, _ = generation(tokenizer, TEXT, n_tokens, stop=[stop])
        assert streamed(short)[-1] == streamed(held)[-1] == held.text
        assert held.reason == "length" and len(held.tokens) == n_tokens + 1


def test_closing_early_keeps_what_was_held_back(tokenizer):
    made, _ = generation(tokenizer, TEXT, stop="the fox told nobody")
    steps = iter(made)
    assert next(steps).text == "" and made.text == ""
    made.close()
    assert made.reason == "closed" and made.text and "the fox".startswith(made.text)


def test_every_end_of_the_tokenizer_ends_a_text():
    vocabulary = small_tokenizer()._vocabulary
    tokenizer = tokenizer_of(replace(vocabulary, other_end_ids=(260,)))
    assert tokenizer.end_ids == (2, 260)
    ids = [1, 262, 263, 260, 264]
    model = scripted(small_config(), ids)
    for ends, n in ((tokenizer, 2), (small_tokenizer(), 4)):
        made = Generation(model, ends, [1], 4, GREEDY, np.random.default_rng(0))
        assert len(list(made)) == n
        assert made.tokens == ids[: n + 1]


def test_log_probabilities_are_those_of_the_raw_scores(config, weights, tokenizer):
    model = Model(config, weights, rope_frequencies(config))
    settings = SamplingSettings(temperature=0.3, top_k=2, repeat_penalty=1.5)
    rng = np.random.default_rng(5)
    made = Generation(model, tokenizer, [1, 5], 6, settings, rng, logprobs=3)
    steps = list(made)
    for step in steps:
        logits = forward(model, made.tokens[: step.position], KVCache(config))[-1].astype(float)
        expected = logits - np.log(np.exp(logits).sum())
        assert step.logprob == pytest.approx(expected[step.id], abs=1e-5)
        ids = [token for token, _, _ in step.top]
        assert ids == np.argsort(-expected, kind="stable")[:3].tolist()
        for token, text, logprob in step.top:
            assert logprob == pytest.approx(expected[token], abs=1e-5)
            assert text == (tokenizer.piece(token).decode("utf-8", "replace")
                            or tokenizer.name(token))  # fmt: skip
    every = Generation(
        model, tokenizer, [1], 1, GREEDY, np.random.default_rng(0), logprobs=config.vocab_size
    )
    (step,) = every
    assert math.fsum(math.exp(p) for _, _, p in step.top) == pytest.approx(1)
    for wrong in (-1, config.vocab_size + 1):
        with pytest.raises(RequestError, match=f"logprobs is {wrong}, expected 0 to"):
            Generation(model, tokenizer, [1], 1, GREEDY, rng, logprobs=wrong)


# --- what generate() returns ---------------------------------------------------------------------


@pytest.fixture
def llama(tmp_path, rng):
    with open_tiny(tmp_path, rng) as llama:
        yield llama


def test_what_generate_returns_streams_and_is_its_text(llama):
    settings = {"temperature": 1.0, "top_k": TOP_K, "seed": 3}
    pieces = list(llama.generate("the", 9, **settings))
    text = "".join(pieces)
    made = llama.generate("the", 9, **settings)
    assert isinstance(made, GeneratedText) and made.text == "" and made.reason == ""
    first = next(made)
    assert (first, made.text) == (pieces[0], pieces[0])
    assert str(made) == text == made.text and made.reason == "length"
    assert list(made) == [] and str(made) == text
    assert made.tokens[0] == llama.tokenizer.bos_id and len(made.tokens) == 11
    assert "generator" not in repr(made)
    closed = llama.generate("the", 9, **settings)
    next(closed)
    closed.close()
    assert str(closed) == pieces[0] and closed.reason == "closed"


def test_its_repr_commands_no_terminal_and_no_page():
    vocabulary = small_tokenizer()._vocabulary
    pieces = [*vocabulary.pieces]
    pieces[262] = b"\x1b[2J<b>"
    tokenizer = tokenizer_of(replace(vocabulary, pieces=pieces))
    model = scripted(small_config(), [1, 262, 2])
    made = GeneratedText(Generation(model, tokenizer, [1], 4, GREEDY, np.random.default_rng(0)))
    assert repr(made) == "\\x1b[2J<b>" and str(made) == "\x1b[2J<b>"
    html = made._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;" in html and "\x1b" not in html


def test_its_steps_have_log_probabilities_where_they_were_asked_for(llama):
    made = llama.generate("the", 4, temperature=0, logprobs=2)
    assert str(made) and [len(step.top) for step in made.steps] == [2] * 4
    assert all(step.top[0][0] == step.id and step.logprob == step.top[0][2] for step in made.steps)
    plain = llama.generate("the", 4, temperature=0)
    assert str(plain) == str(made) and plain.steps == []


def test_stop_strings_reach_the_generation(llama):
    whole = str(llama.generate("the", 30, temperature=1.0, top_k=TOP_K, seed=3))
    stop = whole[5:7]
    made = llama.generate("the", 30, temperature=1.0, top_k=TOP_K, seed=3, stop=stop)
    assert str(made) == whole[: whole.index(stop)] and made.reason == "stop"
    with pytest.raises(RequestError, match="stop: one of the strings is ''"):
        llama.generate("the", stop=[""])


def test_what_is_open_says_what_to_send_in_its_place(llama, tmp_path):
    made = llama.generate("the", 4)
    things = (llama, llama.tokenizer, made, made.generation)
    for thing in things:
        for copied in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(RequestError, match="cannot be pickled, copied or sent to another"):
                copied(thing)
    with pytest.raises(RequestError, match=r"send its path \(.*tiny.bin\) and load it there"):
        pickle.dumps(llama)


# --- an empty prompt -----------------------------------------------------------------------------


def test_an_empty_prompt_starts_from_bos_or_eos():
    vocabulary = small_tokenizer()._vocabulary
    for changes, ids in (
        ({}, [1]),
        ({"add_bos": False}, [1]),
        ({"add_bos": False, "bos_id": -1}, [2]),
    ):
        tokenizer = tokenizer_of(replace(vocabulary, **changes))
        assert prompt_ids(tokenizer, "") == ids and first_id(tokenizer) == ids[0]
    assert prompt_ids(tokenizer, "the") == tokenizer.encode("the")
    nothing = tokenizer_of(replace(vocabulary, add_bos=False, bos_id=-1, eos_id=-1))
    with pytest.raises(RequestError, match="is empty, and the model has neither BOS nor EOS"):
        prompt_ids(nothing, "")
