"""Prefill and decode: where a text ends, what is counted, and what streams."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from helpers.small_models import random_weights, small_config

from llama_edu.errors import NumericalError, RequestError
from llama_edu.rope import rope_frequencies
from llama_edu.tokenizer.streaming import decode
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import PREFILL_CHUNK, Generation, prefill
from llama_edu.transformer.model import Model, forward
from llama_edu.transformer.sampling import GREEDY, SamplingSettings


@pytest.fixture
def model(config, weights):
    return Model(config, weights, rope_frequencies(config))


def scripted(config, weights, script: list[int]) -> Model:
    """A model that says what it is told: position p is followed by script[p].

    All layers add nothing; the final norm keeps one number per token id, and every token's
    embedding points at the token that follows it in the script.
    """
    weights = {name: np.zeros_like(array) for name, array in weights.items()}
    followers = dict(pairwise(script))
    assert len(followers) == len(script) - 1, "every token of a script has one follower"
    weights["final_norm"][:] = 1
    for i, (token, follower) in enumerate(followers.items()):
        weights["token_embedding"][token, i] = 1
        weights["output"][follower, i] = 10
    return Model(config, weights, rope_frequencies(config))


def run(model, tokenizer, prompt, n_tokens, settings=GREEDY, seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    return Generation(model, tokenizer, prompt, n_tokens, settings, rng, **kwargs)


def test_greedy_ids_equal_those_of_a_pass_over_everything_each_time(model, tokenizer):
    generation = run(model, tokenizer, [1, 5, 9], 12)
    new = [token.id for token in generation]
    tokens = [1, 5, 9]
    for token in new:
        logits = forward(model, tokens, KVCache(model.config))
        assert token == int(np.argmax(logits[-1]))
        tokens.append(token)
    assert generation.tokens == tokens and generation.n_prompt == 3
    assert generation.n_new == len(new) == 12 and generation.reason == "length"


def test_each_token_carries_its_position_and_the_logits_it_was_chosen_from(model, tokenizer):
    items = list(run(model, tokenizer, [1, 5, 9], 4))
    assert [item.position for item in items] == [3, 4, 5, 6]
    for item in items:
        assert item.logits.shape == (271,) and item.logits.dtype == np.float32
        assert int(np.argmax(item.logits)) == item.id


@pytest.mark.parametrize("stop", [1, 2])
def test_a_text_ends_at_eos_or_bos_which_are_not_part_of_it(config, weights, tokenizer, stop):
    model = scripted(config, weights, [40, 50, 60, stop])
    generation = run(model, tokenizer, [40], 20)
    assert [token.id for token in generation] == [50, 60]
    assert generation.tokens == [40, 50, 60] and generation.reason == "eos"


def test_a_text_ends_at_the_context(model, tokenizer):
    prompt = [1] + [5] * 45
    generation = run(model, tokenizer, prompt, 100)
    n_new = sum(1 for _ in generation)
    assert len(prompt) + n_new == model.config.max_seq_len == 50
    assert generation.reason == "context"


def test_a_prompt_that_fills_the_context_gives_nothing_and_one_more_is_refused(model, tokenizer):
    generation = run(model, tokenizer, [5] * 50, 3)
    assert list(generation) == [] and generation.reason == "context"
    expected = "prompt: has 51 tokens, the model's context is 50; shorten it"
    with pytest.raises(RequestError, match=expected):
        run(model, tokenizer, [5] * 51, 3)


def test_no_new_tokens_is_a_length_and_a_negative_number_is_refused(model, tokenizer):
    generation = run(model, tokenizer, [1], 0)
    assert list(generation) == [] and generation.reason == "length"
    with pytest.raises(RequestError, match="n_tokens is -1, expected 0 or more"):
        run(model, tokenizer, [1], -1)


def test_bad_prompts_are_refused_before_anything_is_computed(model, tokenizer):
    with pytest.raises(RequestError, match="id 271 at position 1, expected 0 to 270"):
        run(model, tokenizer, [1, 271], 3)
    with pytest.raises(RequestError, match="tokens: none given"):
        run(model, tokenizer, [], 3)


def test_an_early_close_keeps_what_was_made(model, tokenizer):
    generation = run(model, tokenizer, [1], 20)
    steps = iter(generation)
    first = next(steps)
    generation.close()
    assert generation.tokens == [1, first.id] and generation.reason == "closed"
    assert list(steps) == []


def test_the_same_seed_gives_the_same_text_and_another_seed_another(model, tokenizer):
    settings = SamplingSettings(temperature=1.5)
    first, again, other = (
        [token.id for token in run(model, tokenizer, [1], 12, settings, seed)] for seed in (3, 3, 4)
    )
    assert first == again != other


def test_the_repeat_penalty_sees_prompt_and_new_tokens(config, weights, tokenizer):
    model = scripted(config, weights, [40, 50, 60, 70])
    model.weights["output"][80, 2] = 1  # after 60, the third of the script, 80 comes second
    penalized = SamplingSettings(temperature=0, repeat_penalty=1e6)
    assert [t.id for t in run(model, tokenizer, [70, 60], 1, penalized)] == [80]
    assert [t.id for t in run(model, tokenizer, [40, 60], 1, penalized)] == [70]


def test_text_streams_and_a_character_in_pieces_appears_whole(config, weights, tokenizer):
    snowman = [3 + byte for byte in "\u2603".encode()]
    script = [40, *snowman, 50, 2]
    items = list(run(scripted(config, weights, script), tokenizer, [1, 40], 20))
    assert [item.text for item in items] == ["", "", "\u2603", chr(50 - 3)]


def test_a_text_that_ends_inside_a_character_says_so_with_its_last_token(
    config, weights, tokenizer
):
    snowman = [3 + byte for byte in "\u2603".encode()]
    model = scripted(config, weights, [40, *snowman[:2], 2])
    cut = list(run(model, tokenizer, [40], 2))
    assert [(item.id, item.text) for item in cut] == [(snowman[0], ""), (snowman[1], "\ufffd")]
    ended = run(model, tokenizer, [40], 9)
    items = [(item.id, item.text) for item in ended]
    assert items == [(snowman[0], ""), (snowman[1], ""), (2, "\ufffd")]
    assert ended.tokens == [40, *snowman[:2]] and ended.reason == "eos"


def test_the_first_space_of_an_unprompted_text_is_dropped(config, weights, tokenizer):
    the = tokenizer.encode("the", bos=False)
    assert tokenizer.piece(the[0]).startswith(b" ")
    model = scripted(config, weights, [1, the[0], 2])
    assert [item.text for item in run(model, tokenizer, [1], 5)] == [
        tokenizer.piece(the[0]).decode()[1:]
    ]
    model = scripted(config, weights, [40, the[0], 2])
    assert next(iter(run(model, tokenizer, [1, 40], 5))).text.startswith(" ")


def test_prefill_in_chunks_ends_at_the_last_position(rng):
    config = small_config(max_seq_len=300)
    model = Model(config, random_weights(config, rng), rope_frequencies(config))
    tokens = rng.integers(3, 271, PREFILL_CHUNK + 5).tolist()
    cache = KVCache(config)
    last = prefill(model, tokens, cache)
    assert cache.length == len(tokens)
    whole = forward(model, tokens, KVCache(config))
    np.testing.assert_allclose(last, whole[-1], atol=1e-4)


def test_the_cache_has_room_for_the_text_and_no_more(model, tokenizer):
    assert run(model, tokenizer, [1, 5], 6).cache.capacity == 8
    assert run(model, tokenizer, [1, 5], 10**12).cache.capacity == 50


def test_speed_counts_decoding_alone(model, tokenizer):
    generation = run(model, tokenizer, [1, 5, 6], 5)
    assert generation.tokens_per_s == 0
    list(generation)
    assert generation.prefill_s > 0 and generation.decode_s > 0
    assert generation.tokens_per_s == 4 / generation.decode_s


@pytest.fixture
def positions_computed(monkeypatch):
    """How many positions each forward pass computes, in order."""
    from llama_edu.transformer import generate

    counts = []

    def counting(model, tokens, cache, **kwargs):
        counts.append(len(tokens))
        return forward(model, tokens, cache, **kwargs)

    monkeypatch.setattr(generate, "forward", counting)
    return counts


@pytest.mark.parametrize("n_first", [0, 1, 5])
def test_a_generation_goes_on_where_another_stopped_and_computes_nothing_twice(
    model, tokenizer, positions_computed, n_first
):
    settings = SamplingSettings(temperature=1.5)
    whole = [token.id for token in run(model, tokenizer, [1, 5, 9], 12, settings)]
    first = run(model, tokenizer, [1, 5, 9], 12, settings)
    begun = [token.id for _, token in zip(range(n_first), first, strict=False)]
    first.close()
    positions_computed.clear()
    second = Generation(
        model, tokenizer, first.tokens, 12 - n_first, settings, first.rng, cache=first.cache
    )
    assert begun + [token.id for token in second] == whole
    expected = [3] + [1] * 11 if n_first == 0 else [1] * (12 - n_first)
    assert positions_computed == expected


def test_a_cache_that_knows_more_than_the_prompt_is_cut_and_a_small_one_replaced(
    model, tokenizer, positions_computed
):
    cache = KVCache(model.config, 8)
    forward(model, [1, 5, 9, 60, 70, 80], cache)
    expected = [token.id for token in run(model, tokenizer, [1, 5, 9, 61], 20)]
    positions_computed.clear()
    cache.truncate(3)
    forked = run(model, tokenizer, [1, 5, 9, 61], 20, cache=cache)
    assert [token.id for token in forked] == expected
    assert positions_computed == [1] * 20
    assert forked.cache.capacity == 24 and cache.length == 3

    roomy = forked.cache
    again = run(model, tokenizer, [1, 5, 9, 61], 20, cache=roomy)
    assert again.cache is roomy and roomy.length == 3
    assert [token.id for token in again] == expected


def test_a_character_that_the_prompt_began_is_finished_by_the_new_tokens(
    config, weights, tokenizer
):
    snowman = [3 + byte for byte in "\u2603".encode()]
    model = scripted(config, weights, [40, *snowman, 50, 2])
    items = list(run(model, tokenizer, [1, 40, *snowman[:2]], 20))
    assert [item.text for item in items] == ["\u2603", chr(50 - 3)]


# --- weights that are not numbers -----------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [GREEDY, SamplingSettings(), SamplingSettings(top_p=0.9), SamplingSettings(top_k=3),
     SamplingSettings(min_p=0.1)],
)  # fmt: skip
def test_scores_that_are_not_numbers_name_the_position_where_they_began(
    config, weights, tokenizer, settings
):
    weights["token_embedding"][5] = np.nan
    model = Model(config, weights, rope_frequencies(config))
    with pytest.raises(NumericalError, match=r"NaN or infinite.*began at position 2, layer 0\)"):
        list(run(model, tokenizer, [1, 3, 5, 7], 4, settings))


def test_an_infinite_weight_after_the_last_layer_is_named_too(config, weights, tokenizer):
    weights["final_norm"][0] = np.inf
    model = Model(config, weights, rope_frequencies(config))
    with pytest.raises(NumericalError, match="position 3, after the last layer"):
        list(run(model, tokenizer, [1, 3, 5, 7], 4))


def test_the_layer_in_which_it_began_is_named(config, weights, tokenizer):
    weights["layers.1.wk"][3] = np.inf
    model = Model(config, weights, rope_frequencies(config))
    with pytest.raises(NumericalError, match="position 0, layer 1"):
        list(run(model, tokenizer, [1, 3, 5, 7], 4))


class OneTokenPrompt:
    """A tokenizer without BOS whose first piece carries the space that encoding puts in front."""

    vocab_size, bos_id, eos_id, adds_space, adds_bos = 271, -1, -1, True, False
    end_ids, asks_for_eos, special_ids = (), False, frozenset()

    def __len__(self):
        return self.vocab_size

    def encode(self, text, *, bos=True, special=False):
        return [3]

    def decode(self, tokens):
        return decode(self, tokens)

    def piece(self, token):
        return b" Once" if token == 3 else b" upon"

    def name(self, token):
        return self.piece(token).decode()


def test_the_space_after_a_prompt_of_one_token_stays(config, weights):
    """Without BOS the only token is the text itself: "Onceupon" was printed."""
    model = scripted(config, weights, [3, 7, 9])
    generation = run(model, OneTokenPrompt(), [3], 1)
    assert [token.text for token in generation] == [" upon"]
