"""ChatPanel with no front end: turns, stop, regenerate, alternatives, what the model saw."""

from __future__ import annotations

import pytest
from helpers.chat_model import open_chat_model
from helpers.panels import wait_for
from helpers.tiny import Turnstile

from llama_edu.errors import RequestError

pytest.importorskip("ipywidgets")
pytest.importorskip("jinja2")
from llama_edu.show import ChatPanel


@pytest.fixture
def llama(tmp_path):
    with open_chat_model(tmp_path) as model:
        yield model


@pytest.fixture
def make(maker):
    return maker(ChatPanel, n_tokens=7, temperature=0.0, seed=5)


def said(panel):
    return [(message["role"], message["content"]) for message in panel.messages]


def submit(panel, text):
    """What the page does when somebody types and presses Enter."""
    panel.controls.message.value = text
    panel.controls.message._handle_custom_msg({"event": "submit"}, [])


def test_enter_sends_and_the_answer_is_that_of_the_conversation(llama, make):
    panel = make(llama)
    assert "Nothing was said yet." in panel.view.story.value
    submit(panel, "x y")
    assert panel.wait(20) and panel.reason == "length"
    with llama.chat(temperature=0, n_tokens=7) as conversation:
        assert str(conversation.say("x y")) == panel.text
    assert said(panel) == [("user", "x y"), ("assistant", panel.text)]
    assert panel.controls.message.value == ""
    assert (
        "7 new tokens" in panel._status.value and "0 reused from the cache" in panel._status.value
    )
    panel.controls.message.value = "cd"
    panel.controls.send_button.click()
    assert panel.wait(20) and len(panel.messages) == 4
    assert "0 reused from the cache" not in panel._status.value


def test_leaving_the_field_sends_nothing_nor_does_an_empty_message(llama, make):
    panel = make(llama)
    panel.controls.message.value = "x"
    submit(panel, "  ")
    panel.send("")
    assert panel.wait(20) and panel.messages == []


def test_what_is_typed_and_what_is_answered_is_escaped(llama, make):
    panel = make(llama, system="<script>s</script>")
    panel.send("<img src=x onerror=alert(1)> \x1b[2J &amp;").wait(20)
    for html in (panel.view.story.value, panel._seen.value, panel._title.value):
        assert "<img" not in html and "<script>" not in html and "\x1b" not in html
    assert "&lt;img src=x" in panel.view.story.value and "&amp;amp;" in panel.view.story.value
    html = panel._repr_mimebundle_()[0]["text/html"]
    assert "<img" not in html and "&lt;img" in html


def test_stop_keeps_what_was_said_and_the_conversation_goes_on(llama, make, monkeypatch):
    turnstile = Turnstile(llama, monkeypatch)
    panel = make(llama)
    panel.send("x y")
    turnstile.let_pass(2)
    wait_for(lambda: panel.talker.reply and len(panel.talker.reply.choices) == 2)
    assert panel.controls.send_button.disabled and not panel.controls.stop_button.disabled
    panel.send("not now")
    panel.controls.stop_button.click()
    turnstile.let_pass(1)
    assert panel.wait(20) and panel.reason == "stopped"
    assert "stopped" in panel._status.value
    kept = panel.text
    turnstile.let_pass(50)
    assert panel.send("cd").wait(20)
    assert said(panel)[:3] == [("user", "x y"), ("assistant", kept), ("user", "cd")]


def test_regenerate_gives_another_answer_to_the_same_message(llama, make):
    panel = make(llama, temperature=1.5)
    panel.send("x y").wait(20)
    first = panel.text
    panel.controls.again_button.click()
    assert panel.wait(20) and panel.text != first
    assert said(panel) == [("user", "x y"), ("assistant", panel.text)]


def test_the_buttons_for_turns_forget_them(llama, make):
    panel = make(llama, system="be")
    buttons = (panel.controls.again_button, panel.controls.drop_button, panel.controls.reset_button)
    assert all(button.disabled for button in buttons)
    panel.send("x").wait(20)
    panel.send("cd").wait(20)
    assert not any(button.disabled for button in buttons)
    panel.controls.drop_button.click()
    assert panel.wait(20) and [c for _, c in said(panel)[:2]] == ["be", "cd"]
    assert "x" not in [c for _, c in said(panel)]
    panel.controls.reset_button.click()
    assert panel.wait(20) and said(panel) == [("system", "be")]
    assert all(button.disabled for button in buttons)


def test_the_alternatives_to_a_token_and_writing_on_with_one(llama, make):
    panel = make(llama, temperature=1.0)
    panel.send("x y").wait(20)
    panel.choose(3)
    assert "was chosen at position" in panel.view.table.value
    assert "<mark" in panel.view.story.value
    before = [choice.chosen.id for choice in panel.talker.reply.choices]
    token = panel.alternatives.token.options[0][1]
    panel.alternatives.token.value = token
    panel.alternatives.take_button.click()
    assert panel.wait(20)
    after = [choice.chosen.id for choice in panel.talker.reply.choices]
    assert after[:2] == before[:2] and after[2] == token != before[2]
    assert panel.text == "".join(choice.text for choice in panel.talker.reply.choices)
    with pytest.raises(RequestError, match="is not among the 10 likeliest"):
        panel.take_instead(-1)


def test_looking_ahead_fills_a_column(llama, make):
    panel = make(llama)
    panel.send("x y").wait(20)
    panel.choose(2)
    panel.alternatives.ahead_button.click()
    assert panel.wait(20) and "and then, greedily" in panel.view.table.value


def test_what_the_model_saw_marks_special_tokens_by_more_than_color(llama, make):
    panel = make(llama)
    panel.send("a<|user|>").wait(20)
    html = panel._seen.value
    assert html.count('title="special token') == 2
    assert "border: 1px solid currentColor" in html and "font-weight: bold" in html
    assert "that were typed, 1 here, are text" in html


def test_the_bundled_model_is_talked_to_through_a_named_template(make):
    panel = make()
    assert (
        "trained on stories alone" in panel._title.value and "template plain" in panel._title.value
    )
    assert panel.send("Hi").wait(60) and panel.conversation.rendered == "User: Hi\nAssistant:"


def test_a_model_that_cannot_be_talked_to_says_why(make, tmp_path):
    with open_chat_model(tmp_path, template=None) as model:
        panel = make(model)
        assert panel.reason.startswith("failed: chat.gguf: has no chat template")
        assert 'role="alert"' in panel._status.value and panel.controls.send_button.disabled
        panel.send("x").wait(20)
        assert "has no chat template" in panel.reason and panel.messages == []
        assert "no chat template" in repr(panel)
    gone = make(tmp_path / "nothing.gguf")
    assert gone.llama is None and "failed: " in gone.reason


def test_a_full_context_is_said_and_the_message_stays_in_the_field(llama, make):
    panel = make(llama)
    panel.send("x").wait(20)
    submit(panel, "x y " * 60)
    assert panel.wait(20) and "drop_oldest() drops its oldest turn" in panel.reason
    assert panel.controls.message.value == "x y " * 60 and len(panel.messages) == 2


def test_unknown_settings_and_values_out_of_range_are_refused():
    with pytest.raises(RequestError, match=r"'temprature': no such setting, expected temperature"):
        ChatPanel(temprature=1)
    with pytest.raises(RequestError, match="pace is -1"):
        ChatPanel(pace=-1)
    with pytest.raises(RequestError, match="temperature is -1"):
        ChatPanel(temperature=-1)


def test_where_no_widget_can_be_the_conversation_is_text_and_html(llama, make):
    panel = make(llama)
    assert "nothing was said yet" in repr(panel)
    panel.send("x y").wait(20)
    assert repr(panel).startswith("ChatPanel on chat.gguf:\nuser: x y\nassistant: ")
    bundle, _ = panel._repr_mimebundle_()
    assert bundle["text/plain"] == repr(panel)
    assert "llama-edu-turn-user" in bundle["text/html"] and "special token" in bundle["text/html"]
    panel.close()
    assert repr(panel).startswith("ChatPanel")
