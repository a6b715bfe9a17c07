"""Writing: the text, its alternatives, and how it ends. No Jupyter needed."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from helpers.tiny import TOP_K

from llama_edu.errors import RequestError
from llama_edu.show.story.choice import N_LIKELIEST
from llama_edu.show.story.writing import Writing
from llama_edu.transformer.sampling import GREEDY, SamplingSettings

WILD = SamplingSettings(temperature=1.0, top_k=TOP_K)


def written(llama, *args, **kwargs):
    writing = Writing(llama, *args, **kwargs)
    pieces = list(writing)
    return writing, pieces


@pytest.mark.parametrize("seed", range(5))
def test_the_text_is_the_prompt_and_what_generate_yields(llama, seed):
    writing, pieces = written(llama, "the", 30, WILD, seed)
    expected = "".join(llama.generate("the", 30, temperature=1.0, top_k=TOP_K, seed=seed))
    assert "".join(pieces) == expected
    assert writing.text == "the" + expected
    assert writing.reason == "length"


def test_a_choice_knows_the_models_own_probabilities(llama):
    writing, _ = written(llama, "the", 6, WILD, 3)
    choice = writing.choices[4]
    logits = llama.logits(writing.tokens[: choice.position])[-1].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    assert choice.chosen.id == writing.tokens[choice.position]
    assert choice.chosen.probability == pytest.approx(expected[choice.chosen.id], rel=1e-4)
    order = [candidate.id for candidate in choice.likeliest]
    assert len(order) == N_LIKELIEST
    assert order == np.argsort(-expected)[:N_LIKELIEST].tolist()
    assert choice.rank == 1 + np.sum(expected > expected[choice.chosen.id])


def test_tokens_that_the_settings_rule_out_have_no_chance(llama):
    writing, _ = written(llama, "the", 6, WILD, 3)
    for choice in writing.choices:
        kept = [candidate.chance for candidate in choice.likeliest[:TOP_K]]
        assert sum(kept) == pytest.approx(1)
        assert all(candidate.chance == 0 for candidate in choice.likeliest[TOP_K:])
        assert choice.chosen.chance > 0


def test_the_repeat_penalty_lowers_the_chance_but_not_the_models_probability(llama):
    strict = SamplingSettings(temperature=1.0, repeat_penalty=1.9)
    writing, _ = written(llama, "the the", 8, strict, 1)
    choice = writing.choices[0]
    seen = set(writing.tokens[: choice.position])
    logits = llama.logits(writing.tokens[: choice.position])[-1]
    plain = np.exp(logits.astype(np.float64))
    plain /= plain.sum()
    for candidate in choice.likeliest:
        assert candidate.probability == pytest.approx(plain[candidate.id], rel=1e-4)
        if candidate.id in seen:
            assert candidate.chance < candidate.probability


def test_stopping_before_the_start_writes_nothing(llama):
    stopping = threading.Event()
    stopping.set()
    writing, pieces = written(llama, "the", 30, GREEDY, 1, stopping=stopping)
    assert pieces == [] and writing.text == "the" and writing.reason == "stopped"


def test_stopping_between_two_tokens_keeps_what_was_written(llama):
    stopping = threading.Event()
    writing = Writing(llama, "the", 30, WILD, 1, stopping=stopping)
    for n, _ in enumerate(writing, 1):
        if n == 4:
            stopping.set()
    assert len(writing.choices) == 4 and writing.reason == "stopped"
    assert [c.chosen.id for c in writing.choices] == writing.tokens[-4:]


def test_the_pace_is_kept_by_waiting_for_stop(llama):
    class Patient(threading.Event):
        waits: list[float] = []  # noqa: RUF012  (one test, one class)

        def wait(self, timeout=None):
            self.waits.append(timeout)
            return self.is_set()

    writing, _ = written(llama, "the", 5, WILD, 1, pace=20, stopping=Patient())
    assert writing._stopping.waits == [1 / 20] * 5


def test_time_to_the_first_token_is_read_from_the_clock_that_is_passed_in(llama):
    ticks = iter([10.0, 10.25])
    writing, _ = written(llama, "the", 5, WILD, 1, clock=lambda: next(ticks))
    assert writing.first_token_s == 0.25


def test_a_negative_or_missing_pace_is_refused(llama):
    for pace in (-1.0, float("nan")):
        with pytest.raises(RequestError, match=r"pace is .*, expected 0 \(as fast as it goes\)"):
            Writing(llama, "the", 5, WILD, 1, pace=pace)


def test_a_text_that_ends_inside_a_character_gets_no_extra_choice(llama, monkeypatch):
    # 0xC3 begins a character of two bytes; in this vocabulary byte pieces have the ids 3 + byte
    half = 3 + 0xC3
    assert llama.tokenizer.piece(half) == b"\xc3"
    monkeypatch.setattr("llama_edu.transformer.generate.sample", lambda *_: half)
    writing, _ = written(llama, "the", 2, GREEDY, 1)
    assert len(writing.choices) == 2
    assert writing.text == "the" + b"\xc3\xc3".decode("utf-8", "replace")


@pytest.mark.parametrize("seed", range(4))
def test_a_text_cut_anywhere_goes_on_to_the_same_text(llama, seed):
    whole, _ = written(llama, "the", 14, WILD, seed)
    for n_first in range(14):
        first, _ = written(llama, "the", n_first, WILD, seed)
        rest, pieces = written(
            llama, "the", 14 - n_first, WILD, first.generation.rng,
            kept=first.choices, cache=first.generation.cache,
        )  # fmt: skip
        assert rest.tokens == whole.tokens and rest.text == whole.text
        assert [c.text for c in rest.choices] == [c.text for c in whole.choices]
        assert rest.n_tokens == 14 and len(pieces) >= 14 - n_first


def test_an_alternative_takes_the_place_of_a_choice_with_its_own_rank(llama):
    writing, _ = written(llama, "the", 6, WILD, 3)
    other = next(c for c in writing.choices[2].likeliest if c.id != writing.choices[2].chosen.id)
    changed = writing.instead(2, other.id)
    assert changed[:2] == writing.choices[:2] and len(changed) == 3
    assert changed[2].chosen == other
    assert changed[2].rank == 1 + writing.choices[2].likeliest.index(other)
    assert changed[2].likeliest == writing.choices[2].likeliest
    with pytest.raises(RequestError, match="choice 6: this text has 6 new tokens"):
        writing.instead(6, other.id)
