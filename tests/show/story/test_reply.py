"""A reply is the answer of a conversation, with what else could have stood in each place."""

from __future__ import annotations

import threading

import pytest
from helpers.chat_model import Mouth, ids_of, open_chat_model

pytest.importorskip("jinja2")
from llama_edu.show.story.choice import instead
from llama_edu.show.story.reply import Reply
from llama_edu.transformer.sampling import SamplingSettings

SETTINGS = SamplingSettings()


@pytest.fixture
def llama(tmp_path):
    with open_chat_model(tmp_path) as model:
        yield model


@pytest.fixture
def conversation(llama):
    with llama.chat(stop="\nx") as made:
        yield made


def end_of(llama):
    return llama.tokenizer.special_names["<|im_end|>"]


def test_text_that_was_held_back_before_the_end_is_no_token_of_its_own(
    llama, conversation, monkeypatch
):
    Mouth(monkeypatch, llama).put("ab", "\n", end_of(llama))
    reply = Reply(conversation.say("x"), llama.tokenizer, SETTINGS)
    assert "".join(reply) == reply.text == "ab\n" and reply.reason == "eos"
    assert [choice.text for choice in reply.choices] == ["ab", "\n"]
    assert [choice.chosen.id for choice in reply.choices] == reply.tokens[-2:]


def test_a_stopped_reply_keeps_its_tokens_and_its_text(llama, conversation, monkeypatch):
    Mouth(monkeypatch, llama).put("ab", " cd", "\n")
    stopping = threading.Event()
    reply = Reply(conversation.say("x"), llama.tokenizer, SETTINGS, stopping=stopping)
    for n, _ in enumerate(reply):
        if n == 1:
            stopping.set()
    assert reply.reason == "stopped" and reply.text == "ab "
    assert conversation.messages[-1]["content"] == reply.text
    assert len(reply.choices) == 2 and reply.first_token_s > 0


def test_a_reply_with_another_token_has_that_tokens_text(llama, conversation, monkeypatch):
    mouth = Mouth(monkeypatch, llama)
    mouth.put("ab", "z", end_of(llama))
    reply = Reply(conversation.say("x"), llama.tokenizer, SETTINGS)
    "".join(reply)
    other = next(c.id for c in reply.choices[1].likeliest if llama.tokenizer.piece(c.id).isascii())
    kept = instead(reply.choices, 1, other)
    mouth.put("xy", end_of(llama))
    ids = [choice.chosen.id for choice in kept]
    again = Reply(conversation.regenerate(ids), llama.tokenizer, SETTINGS, kept=kept)
    "".join(again)
    assert ids == [*ids_of(llama, "ab"), other]
    assert again.text == "".join(choice.text for choice in again.choices)
    assert again.text.startswith("ab") and again.text.endswith("xy")


def test_a_reply_waits_between_its_tokens_for_as_long_as_the_pace_asks(
    llama, conversation, monkeypatch
):
    class Watched(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            return False

    waits = []
    Mouth(monkeypatch, llama).put("ab", " cd", end_of(llama))
    stopping = Watched()
    reply = Reply(conversation.say("x"), llama.tokenizer, SETTINGS, pace=4, stopping=stopping)
    assert "".join(reply) == "ab cd"
    assert len(waits) >= 2 and set(waits) == {0.25}
