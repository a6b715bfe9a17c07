"""A conversation: who said what, what is computed once only, and how it goes on after anything."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.chat_model import Mouth, ids_of, open_chat_model
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.chat import conversation as conversation_module
from llama_edu.chat.conversation import ContextFull
from llama_edu.errors import LlamaEduError, RequestError
from llama_edu.transformer import generate

pytest.importorskip("jinja2")


@pytest.fixture
def llama(tmp_path):
    with open_chat_model(tmp_path) as model:
        yield model


@pytest.fixture
def chat(llama):
    """Makes conversations that are closed afterwards; greedy, unless said otherwise."""
    made = []

    def make(*args, model=llama, **values):
        made.append(model.chat(*args, **{"temperature": 0, "n_tokens": 6} | values))
        return made[-1]

    yield make
    for conversation in made:
        conversation.close()


@pytest.fixture
def mouth(monkeypatch, llama):
    return Mouth(monkeypatch, llama)


def end_of(llama) -> int:
    """The piece that ends an answer, and not EOS."""
    return llama.tokenizer.special_names["<|im_end|>"]


def said(conversation) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in conversation.messages]


def test_an_answer_comes_in_pieces_and_stays_in_the_messages(llama, chat, mouth):
    conversation = chat("Be kind.")
    mouth.put("ab", " cd", end_of(llama))
    answer = conversation.say("x y")
    assert list(answer) == ["a", "b", " ", "cd"] or "".join(answer) == ""  # read once only
    assert answer.text == str(answer) == "ab cd" and answer.reason == "eos"
    assert said(conversation) == [("system", "Be kind."), ("user", "x y"), ("assistant", "ab cd")]
    assert conversation.rendered == "Be kind.\n<|user|>x y\n"
    mouth.put("z", end_of(llama))
    assert str(conversation.say("c")) == "z"
    assert conversation.rendered == "Be kind.\n<|user|>x y\nab cd<|im_end|>\n<|user|>c\n"
    assert "3 turns" not in repr(conversation) and "5 messages" in repr(conversation)


def test_messages_are_copies(chat):
    conversation = chat("s")
    conversation.messages[0]["content"] = "changed"
    assert conversation.system == "s"


def test_every_end_token_ends_an_answer(llama, chat, mouth):
    for end in llama.tokenizer.end_ids:
        mouth.put("ab", end)
        answer = chat().say("x")
        assert str(answer) == "ab" and answer.reason == "eos"
    assert len(llama.tokenizer.end_ids) > 1


def test_a_stop_string_ends_an_answer_and_is_not_part_of_it(chat, mouth):
    mouth.put("ab", "c", "x", "yz")
    answer = chat(stop="cxy").say("x")
    assert str(answer) == "ab"


def test_the_second_turn_computes_only_what_is_new(llama, chat, mouth):
    conversation = chat("s")
    mouth.put("ab", " cd", end_of(llama))
    str(conversation.say("x y"))
    assert conversation.n_reused == 0
    first = conversation.tokens
    mouth.put("z", end_of(llama))
    answer = conversation.say("c")
    assert answer.n_reused == conversation.n_reused
    n_common = conversation_module._common(first, answer.generation.tokens)
    assert 0 < conversation.n_reused <= n_common
    assert n_common - conversation.n_reused <= 1  # the last token was drawn and never read


def test_what_is_reused_changes_nothing(llama, chat):
    """The same tokens as those of a model that reads everything anew."""
    conversation = chat("ab", n_tokens=9)
    for text in ("x y", "cd", "a a"):
        answer = conversation.say(text)
        str(answer)
        alone = chat(messages=conversation.messages[:-2], n_tokens=9).say(text)
        assert str(alone) == answer.text
        assert alone.generation.tokens == answer.generation.tokens and alone.n_reused == 0
    assert conversation.n_reused > 0


def test_an_answer_in_unusual_pieces_is_read_again_from_there(llama, chat, mouth, monkeypatch):
    """Its text is cut into other pieces than those that were chosen: the cache ends there."""
    conversation = chat()
    (a,), (b,) = ids_of(llama, "a"), ids_of(llama, "b")
    mouth.put(a, b, end_of(llama))  # "ab" is one piece
    str(conversation.say("x y"))
    n_prompt = conversation._answer.n_prompt
    mouth.put("z", end_of(llama))
    answer = conversation.say("c")
    assert answer.n_reused == n_prompt
    str(answer)
    monkeypatch.undo()
    continued = conversation.regenerate()
    fresh = chat(messages=conversation.messages[:-2]).say("c")
    next(iter(continued)), next(iter(fresh))
    assert continued.generation.tokens == fresh.generation.tokens


def test_a_closed_answer_keeps_what_was_said(llama, chat, mouth):
    conversation = chat()
    mouth.put("ab", " cd", "x", "y")
    answer = conversation.say("x")
    pieces = iter(answer)
    kept = next(pieces) + next(pieces)
    answer.close()
    assert answer.reason == "closed" and list(pieces) == []
    assert said(conversation)[-1] == ("assistant", kept)
    mouth._tokens.clear()
    mouth.put("z", end_of(llama))
    assert str(conversation.say("c")) == "z"
    assert f"{kept}<|im_end|>" in conversation.rendered


def test_an_answer_that_nobody_reads_is_empty_and_the_next_turn_goes_on(chat, llama, mouth):
    conversation = chat()
    unread = conversation.say("x")
    mouth.put("z", end_of(llama))
    assert str(conversation.say("c")) == "z"
    assert unread.text == "" and list(unread) == []
    assert said(conversation)[:2] == [("user", "x"), ("assistant", "")]


@pytest.mark.parametrize("at_call", [1, 2, 4])
def test_ctrl_c_anywhere_keeps_the_conversation_and_its_cache(chat, monkeypatch, at_call):
    conversation = chat("ab", n_tokens=8)
    str(conversation.say("x"))
    original, calls = generate.score_next, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == at_call:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(generate, "score_next", interrupted)
        with pytest.raises(KeyboardInterrupt):
            str(conversation.say("cd"))
    assert [role for role, _ in said(conversation)] == ["system", *["user", "assistant"] * 2]
    answer = conversation.say("c")
    str(answer)
    alone = chat(messages=conversation.messages[:-2], n_tokens=8).say("c")
    assert str(alone) == answer.text and alone.generation.tokens == answer.generation.tokens


def test_regenerate_answers_the_last_message_again(chat, llama):
    conversation = chat(temperature=1.5, seed=3, n_tokens=9)
    with pytest.raises(RequestError, match="nothing was said yet"):
        conversation.regenerate()
    first = str(conversation.say("x y"))
    again = conversation.regenerate()
    assert str(again) != first  # the random numbers went on
    assert again.n_reused == again.n_prompt - 1
    assert said(conversation) == [("user", "x y"), ("assistant", again.text)]
    same = chat(temperature=1.5, seed=3, n_tokens=9)
    assert str(same.say("x y")) == first and str(same.regenerate()) == again.text


def test_regenerate_may_begin_with_given_tokens(chat, llama, mouth):
    conversation = chat()
    mouth.put("ab", end_of(llama))
    str(conversation.say("x"))
    kept = ids_of(llama, "cd")
    mouth.put("z", end_of(llama))
    answer = conversation.regenerate(kept)
    assert answer.text == "cd" and str(answer) == "cdz"
    assert said(conversation)[-1] == ("assistant", "cdz")


def test_reset_forgets_all_but_the_system_message(chat):
    conversation = chat("s")
    str(conversation.say("x"))
    conversation.reset()
    assert said(conversation) == [("system", "s")]
    assert conversation.tokens == [] and conversation.rendered == "" and conversation.seen() == []


def test_the_system_message_is_set_changed_and_taken_away(chat):
    conversation = chat()
    assert conversation.system is None
    conversation.system = "s"
    str(conversation.say("x"))
    conversation.system = "t"
    assert [content for _, content in said(conversation)][:2] == ["t", "x"]
    conversation.system = ""
    assert conversation.system == ""
    conversation.system = None
    assert said(conversation)[0] == ("user", "x")
    with pytest.raises(RequestError, match="system is 5, expected text"):
        conversation.system = 5


def test_a_full_context_is_said_and_dropping_the_oldest_turn_makes_room(chat, llama, mouth):
    conversation = chat("s", n_tokens=40)
    for text in ("x y " * 8, "c d " * 8):
        mouth.put("a" * 9, end_of(llama))
        str(conversation.say(text))
    before = conversation.messages
    with pytest.raises(ContextFull) as caught:
        conversation.say("x d " * 24)
    sentence = str(caught.value)
    assert "the model's context is 150; drop_oldest() drops its oldest turn" in sentence
    assert conversation.messages == before
    assert conversation.drop_oldest() == 2
    assert [c for _, c in said(conversation)] == ["s", "c d " * 8, "a" * 9]
    mouth.put("z", end_of(llama))
    assert str(conversation.say("x d " * 24)) == "z"
    assert 0 < conversation.n_reused < 9  # the system's message is still the beginning


def test_dropping_more_turns_than_there_are_is_a_sentence(chat):
    conversation = chat("s", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(RequestError, match="drop_oldest: 2 turns, expected 1 to 1"):
        conversation.drop_oldest(2)
    assert conversation.drop_oldest(1) == 1 and conversation.system == "s"
    with pytest.raises(RequestError, match="there is no turn to drop"):
        conversation.drop_oldest()


def test_an_answer_that_fills_the_context_ends_there_and_says_so(chat):
    conversation = chat("x y " * 30, n_tokens=400, stop=[])
    answer = conversation.say("c")
    str(answer)
    assert answer.reason in ("context", "eos")
    if answer.reason == "context":
        assert len(answer.generation.tokens) == 150


def test_what_the_model_saw_tells_special_tokens_from_what_looks_like_them(chat, mouth, llama):
    conversation = chat()
    mouth.put("ab", end_of(llama))
    str(conversation.say("a<|user|> \U0001f600"))
    seen = conversation.seen()
    assert [piece.text for piece in seen if piece.is_special] == ["<s>", "<|user|>"]
    assert [piece.id for piece in seen] == conversation.tokens
    text = "".join(piece.text for piece in seen)
    assert "a<|user|> \U0001f600" in text and text.endswith("ab")
    assert conversation.n_typed_specials == 1


def test_a_template_that_refuses_leaves_the_conversation_as_it_was(tmp_path, chat):
    template = "{% if messages|length > 2 %}{{ raise_exception('too long') }}{% endif %}x"
    with open_chat_model(tmp_path, template=template) as model:
        conversation = chat(model=model)
        str(conversation.say("a"))
        before = conversation.messages
        with pytest.raises(RequestError, match=r"chat\.gguf: its chat template: refuses .*too lo"):
            conversation.say("b")
        assert conversation.messages == before


def test_a_model_without_a_template_takes_one_by_name_and_says_what_it_lacks(tmp_path, chat, mouth):
    with open_chat_model(tmp_path, template=None) as model:
        with pytest.raises(RequestError, match=r"chat\.gguf: has no chat template; give one"):
            model.chat()
        conversation = chat(model=model, template="chatml")
        assert conversation.missing_pieces == ("<|im_start|>",)
        assert chat(model=model, template="plain").missing_pieces == ()
        mouth.put("ab\nUser", ":", "z")
        assert str(chat(model=model, template="plain", n_tokens=9).say("x")) == "ab"


BAD_MESSAGES = {
    "a string": ("hi", "messages: 'hi', expected a list"),
    "one message": ({"role": "user", "content": "x"}, "put the one message into a list"),
    "a number": (5, "messages: 5, expected a list"),
    "texts": (["hi"], r"messages\[0\]: 'hi', expected {"),
    "no role": ([{"content": "x"}], r"messages\[0\]: has no role"),
    "no content": ([{"role": "user"}], r"messages\[0\]: has no content"),
    "unknown role": ([{"role": "tool", "content": ""}], "role 'tool', expected system, user, ass"),
    "role of no text": ([{"role": 3, "content": ""}], "role 3, expected system"),
    "content of parts": (
        [{"role": "user", "content": [{"type": "text"}]}],
        "content is .*expected",
    ),
    "content of nothing": ([{"role": "user", "content": None}], "content is None, expected text"),
    "content of bytes": ([{"role": "user", "content": b"x"}], "content is b'x', expected text"),
    "more": ([{"role": "user", "content": "x", "tool_calls": []}], "has 'tool_calls', expected"),
    "the second": ([{"role": "user", "content": "x"}, None], r"messages\[1\]: None, expected"),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_a_message_without_role_or_content_is_a_sentence(llama, name):
    messages, says = BAD_MESSAGES[name]
    with pytest.raises(RequestError, match=says):
        llama.chat(messages=messages)


@pytest.mark.parametrize("text", [None, 5, b"x", ["x"]])
def test_only_text_can_be_said(chat, text):
    conversation = chat()
    with pytest.raises(RequestError, match=r"message is .*, expected text"):
        conversation.say(text)
    assert conversation.messages == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"n_tokens": 0}, "n_tokens is 0, expected 1 or more"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"template": "nope"}, "'nope' is neither a file nor a known name"),
    ],
)
def test_impossible_requests_are_sentences(llama, values, says):
    with pytest.raises(LlamaEduError, match=says):
        llama.chat(**values)


def test_a_closed_model_says_so(tmp_path):
    with open_chat_model(tmp_path) as model:
        pass
    with pytest.raises(RequestError, match="is closed; load it again"):
        model.chat()


@pytest.fixture(scope="module")
def long_conversation(tmp_path_factory):
    with open_chat_model(tmp_path_factory.mktemp("long"), max_seq_len=400) as model:
        conversation = model.chat("s", n_tokens=4, seed=1)
        yield model, conversation
        conversation.close()


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_whatever_is_said_the_cache_gives_the_scores_of_a_model_without_one(
    long_conversation, texts
):
    model, conversation = long_conversation
    conversation.reset()
    for text in texts:
        str(conversation.say(text))
    answer = conversation.regenerate()
    token = next(answer.generated(), None)
    if token is not None:  # its first choice may be the end
        expected = model.logits(answer.generation.tokens[: answer.n_prompt])[-1]
        np.testing.assert_allclose(token.logits, expected, rtol=1e-4, atol=1e-4)
