"""Observing a text token by token: one loop for the experiments, the command and the panel."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from helpers.tiny import write_tiny

import llama_edu
from llama_edu.experiments.observe.token_steps import TokenSteps, recorded
from llama_edu.experiments.token_pages import observe_tokens
from llama_edu.pages.lab import PageLab
from llama_edu.transformer.sampling import GREEDY


@pytest.fixture
def lab(tmp_path, rng):
    path, _ = write_tiny(tmp_path, rng)
    with PageLab.open(path, "faults") as opened:
        yield opened


def reading(lab, names, *, at_end=()):
    """A computation with one step for each tensor; `at_end` is read when no step is left."""
    for name in names:
        lab.ledger.whole(name)
        yield name
    for name in at_end:
        lab.ledger.whole(name)


def test_each_step_has_a_record_of_its_own(lab):
    names = ["output", "layers.0.wq", "output"]
    found = list(recorded(lab, reading(lab, names)))
    assert [made for made, _ in found] == names
    assert [record.label for _, record in found] == ["step 0", "step 1", "step 2"]
    for name, record in found:
        assert np.array_equal(record.pages, record.touched.extent(name))


def test_a_call_that_finds_the_end_is_a_step_only_where_it_touched_something(lab):
    assert [made for made, _ in recorded(lab, reading(lab, ["output"]))] == ["output"]
    found = list(recorded(lab, reading(lab, ["output"], at_end=["layers.0.wq"])))
    assert [made for made, _ in found] == ["output", None]
    assert found[1][1].n_touched == found[1][1].touched.extent("layers.0.wq").sum()


def test_stopping_ends_before_the_next_step_and_before_the_first(lab):
    stopping, made = threading.Event(), []
    for step, _ in recorded(lab, reading(lab, ["output"] * 5), stopping):
        made.append(step)
        if len(made) == 2:
            stopping.set()
    assert made == ["output"] * 2
    assert list(recorded(lab, reading(lab, ["output"]), stopping)) == []


def test_a_text_s_steps_say_what_was_read_and_why_it_ended(tmp_path, rng):
    path, tokenizer = write_tiny(tmp_path, rng)
    with PageLab.open(path) as lab, llama_edu.load(path, tokenizer=tokenizer, lab=lab) as llama:
        prompt = llama.tokenizer.encode("the")
        generation = llama.generate_tokens("the", 4, GREEDY)
        text = TokenSteps(lab, generation, "the")
        steps = list(text)
        assert text.reason == "length" and text.text == "the" + "".join(
            llama.generate("the", 4, temperature=0)
        )
        assert [step.tokens for step in steps] == [
            tuple(prompt), *((id,) for id in generation.tokens[len(prompt) : -1])
        ]  # fmt: skip
        assert text.text.startswith("".join(step.text for step in steps))
        stopping = threading.Event()
        stopping.set()
        stopped = TokenSteps(lab, llama.generate_tokens("the", 4, GREEDY), "the", stopping)
        assert list(stopped) == [] and stopped.reason == "stopped" and stopped.text == "the"


def test_new_pages_are_counted_once(tmp_path, rng):
    path, tokenizer = write_tiny(tmp_path, rng)
    seen = observe_tokens(path, "the", 4, tokenizer=tokenizer, per_token=True)
    union = np.zeros(seen.whole.n_pages, bool)
    for step, n_new in zip(seen.steps, seen.new_pages(), strict=True):
        assert n_new == (step.record.pages & ~union).sum()
        union |= step.record.pages
    assert sum(seen.new_pages()) == union.sum() == seen.whole.n_touched
