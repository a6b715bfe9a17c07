"""GenerationWidget with no front end: what its buttons do, what it shows, what it never does."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from helpers.panels import n_written, wait_for
from helpers.small_models import small_vocabulary
from helpers.tiny import TOP_K, Turnstile, open_tiny, write_tiny

from llama_edu.errors import RequestError

pytest.importorskip("ipywidgets")
from llama_edu.show import GenerationWidget
from llama_edu.show.panels.parts import writer as writer_module
from llama_edu.show.story.token_html import percent, token_label
from llama_edu.text import visible_lines

SETTINGS = {"prompt": "the", "n_tokens": 20, "top_k": TOP_K, "temperature": 1.0}


@pytest.fixture
def make(maker):
    return maker(GenerationWidget, **SETTINGS)


def everything_shown(widget):
    return "".join(
        part.value
        for part in (widget.bar.title, widget.bar.status, widget.view.story, widget.view.table)
    )


def test_the_text_is_the_one_that_generate_gives(llama, make):
    widget = make(llama, seed=5)
    assert widget.start() is widget and widget.wait(20)
    expected = "the" + "".join(llama.generate("the", 20, temperature=1.0, top_k=TOP_K, seed=5))
    assert widget.text == expected
    assert widget.reason == "length"
    assert widget.tokens[: len(llama.tokenizer.encode("the"))] == llama.tokenizer.encode("the")
    assert len(widget.tokens) == len(llama.tokenizer.encode("the")) + 20


def test_the_field_for_stop_strings_ends_the_text(llama, make):
    whole = "the" + str(llama.generate("the", 20, temperature=1.0, top_k=TOP_K, seed=5))
    stop = whole[9:11]
    widget = make(llama, seed=5, stop=["never there", stop])
    assert widget.controls.stop.value == f"never there\n{stop}"
    widget.start().wait(60)
    assert (widget.text, widget.reason) == (whole[: whole.index(stop, 3)], "stop")
    assert "a stop string ended the text" in widget.bar.status.value
    widget.controls.stop.value = ""
    widget.start().wait(60)
    assert (widget.text, widget.reason) == (whole, "length")
    for wrong in ("", [""], "a\nb"):
        with pytest.raises(RequestError, match=r"stop: .* is no string of one line"):
            GenerationWidget(llama, stop=wrong)


def test_run_prints_what_start_writes(llama, make, capsys):
    widget = make(llama)
    assert widget.start().wait(20)
    background = widget.text
    assert widget.run() == background
    assert capsys.readouterr().out == visible_lines(background) + "\n"


def test_the_buttons_do_what_the_methods_do(llama, make, monkeypatch):
    turnstile = Turnstile(llama, monkeypatch)
    widget = make(llama)
    assert not widget.generate_button.disabled and widget.stop_button.disabled
    widget.generate_button.click()
    assert widget.generate_button.disabled and not widget.stop_button.disabled
    turnstile.let_pass(2)
    wait_for(lambda: n_written(widget) == 2)
    widget.stop_button.click()
    turnstile.let_pass(1)
    assert widget.wait(20)
    assert widget.reason == "stopped"
    assert not widget.generate_button.disabled and widget.stop_button.disabled


def test_stop_takes_effect_before_the_next_token(llama, make, monkeypatch):
    turnstile = Turnstile(llama, monkeypatch)
    widget = make(llama).start()
    turnstile.let_pass(3)
    wait_for(lambda: n_written(widget) == 3)
    widget.stop()
    turnstile.let_pass(10)  # one token may be computed already, and only that one
    assert widget.wait(20)
    assert 3 <= len(widget.writing.choices) <= 4
    assert widget.reason == "stopped" and "stopped" in widget.bar.status.value


def test_a_stop_that_follows_start_at_once_is_not_lost(llama, make, monkeypatch):
    turnstile = Turnstile(llama, monkeypatch)
    widget = make(llama).start()
    widget.stop()
    turnstile.let_pass(20)
    assert widget.wait(20)
    assert widget.reason == "stopped" and len(widget.writing.choices) <= 1


def test_clicks_on_two_threads_start_one_text(llama, make, monkeypatch):
    turnstile = Turnstile(llama, monkeypatch)
    widget = make(llama)
    begun = []
    original = widget.writer._begin
    monkeypatch.setattr(widget.writer, "_begin", lambda values: begun.append(1) or original(values))
    clicks = [threading.Thread(target=widget.generate_button.click) for _ in range(4)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    turnstile.let_pass(21)
    assert widget.wait(20)
    assert begun == [1]


def test_run_is_refused_while_a_text_is_written(llama, make, monkeypatch):
    turnstile = Turnstile(llama, monkeypatch)
    widget = make(llama).start()
    with pytest.raises(RequestError, match=r"is already writing; call \.stop\(\) and \.wait\(\)"):
        widget.run()
    turnstile.let_pass(21)
    assert widget.wait(20) and widget.reason == "length"


def test_an_interrupted_run_keeps_its_text_and_can_be_followed_by_another(
    llama, make, monkeypatch, capsys
):
    widget = make(llama)
    whole = widget.run()
    original = llama.generate_tokens

    def interrupted(*args, **kwargs):
        generation = original(*args, **kwargs)

        def steps(inner):
            for n, token in enumerate(inner):
                if n == 3:
                    raise KeyboardInterrupt
                yield token

        generation._steps = steps(generation._steps)
        return generation

    with monkeypatch.context() as patch:
        patch.setattr(llama, "generate_tokens", interrupted)
        text = widget.run()
    assert widget.reason == "stopped" and len(widget.writing.choices) == 3
    assert whole.startswith(text) and text != whole
    assert widget.run() == whole


def test_two_widgets_on_one_model_do_not_disturb_each_other(llama, make):
    alone = [make(llama, seed=seed).run() for seed in (1, 2)]
    together = [make(llama, seed=seed).start() for seed in (1, 2)]
    assert all(widget.wait(20) for widget in together)
    assert [widget.text for widget in together] == alone
    assert alone[0] != alone[1]


def test_a_model_that_is_missing_is_said_in_the_panel_and_opened_when_it_is_there(
    tmp_path, rng, make
):
    widget = make(tmp_path / "tiny.bin", tokenizer=tmp_path / "tokenizer.bin")
    assert "tiny.bin" in widget.reason and widget.reason.startswith("failed: ")
    assert 'role="alert"' in widget.bar.status.value
    assert "No model is open" in widget.bar.title.value
    assert widget.start().wait(20) and widget.reason.startswith("failed: ")
    write_tiny(tmp_path, rng)
    assert widget.start().wait(20)
    assert widget.reason == "length" and "tiny.bin: " in widget.bar.title.value


def test_a_prompt_that_is_too_long_is_said_in_words(llama, make):
    widget = make(llama, prompt="the " * 60)
    assert widget.start().wait(20)
    assert "the model&#x27;s context is 50; shorten it" in widget.bar.status.value
    assert "the model's context is 50; shorten it" in widget.reason
    assert not widget.generate_button.disabled
    with pytest.raises(RequestError, match="context is 50"):
        widget.run()


def test_an_unforeseen_error_in_the_thread_is_shown_with_its_name(llama, make, monkeypatch):
    widget = make(llama)
    monkeypatch.setattr(llama, "generate_tokens", lambda *_, **__: 1 / 0)
    assert widget.start().wait(20)
    assert widget.reason == "failed: ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in widget.bar.status.value and "ZeroDivisionError" in repr(widget)


def test_impossible_settings_are_refused_when_the_widget_is_made(llama):
    with pytest.raises(RequestError, match="sampling: temperature is nan"):
        GenerationWidget(llama, temperature=float("nan"))
    with pytest.raises(RequestError, match="sampling: top_p is 2"):
        GenerationWidget(llama, top_p=2.0)
    with pytest.raises(RequestError, match="'temprature': no such control, expected prompt, stop,"):
        GenerationWidget(llama, temprature=1.0)


def test_the_screen_is_updated_by_the_clock_and_not_by_the_token(llama, make, monkeypatch):
    widget = make(llama)
    updates = []
    widget.view.story.observe(lambda change: updates.append(change["new"]), "value")
    monkeypatch.setattr(writer_module, "UPDATE_INTERVAL_S", 1e9)
    assert widget.start().wait(20)
    assert len(updates) <= 3  # the prompt, the first token, and the finished text
    updates.clear()
    monkeypatch.setattr(writer_module, "UPDATE_INTERVAL_S", 0.0)
    assert widget.start().wait(20)
    assert len(updates) > 10


def test_every_position_can_be_looked_at_when_the_text_is_finished(llama, make):
    widget = make(llama)
    assert widget.position_slider.disabled and widget.view.table.value == ""
    assert widget.start().wait(20)
    assert not widget.position_slider.disabled and widget.position_slider.max == 20
    first = len(llama.tokenizer.encode("the"))
    for value in (1, 7, 20):
        widget.position_slider.value = value
        assert f"at position {first + value - 1}," in widget.view.table.value
        assert widget.view.table.value.count("◀") == 1
        assert widget.view.story.value.count("<mark") == 1


def test_what_a_model_says_is_never_markup(tmp_path, rng, make):
    evil = b"<script>alert(1)</script>"
    pieces = [(evil, score) if n > 258 else (p, score)
              for n, (p, score) in enumerate(small_vocabulary())]  # fmt: skip
    llama = open_tiny(tmp_path, rng, pieces=pieces)
    widget = make(llama, prompt="<img src=x onerror=alert(2)>", n_tokens=5, top_k=0)
    for seed in range(40):
        widget.controls.seed.value = seed
        assert widget.start().wait(20)
        if "<script>" in widget.text:
            break
    assert "<script>" in widget.text, "the model never said it: this test shows nothing"
    shown = everything_shown(widget)
    assert "<script" not in shown and "<img" not in shown
    assert "&lt;script&gt;" in shown and "&lt;img" in shown
    widget.close()
    llama.close()


def test_the_words_beside_the_widget_are_whole_and_the_same_every_time(llama, make):
    widget = make(llama)
    assert repr(widget).startswith("GenerationWidget on tiny.bin, nothing written yet.\n")
    assert widget.start().wait(20)
    first, _ = widget._repr_mimebundle_()
    assert widget.start().wait(20)
    assert first["text/plain"] == widget._repr_mimebundle_()[0]["text/plain"]
    assert first["text/plain"].endswith(visible_lines(widget.text))
    assert "20 new tokens, the requested length is reached" in first["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in first


def test_an_example_fills_the_prompt(llama, make):
    widget = make(llama, examples=("Long ago", ""))
    assert widget.controls.examples.label == "choose a beginning"
    widget.controls.examples.label = "Long ago"
    assert widget.controls.prompt.value == "Long ago"
    widget.controls.examples.label = "(empty: begin with anything)"
    assert widget.controls.prompt.value == ""


def test_close_stops_the_text_and_closes_only_what_the_widget_opened(
    tmp_path, rng, llama, make, monkeypatch
):
    model, tokenizer = write_tiny(tmp_path, rng)
    own = make(model, tokenizer=tokenizer)
    opened = own.llama
    assert own.start().wait(20)
    own.close()
    assert own.llama is None and not opened.weights
    assert repr(own) == "GenerationWidget: closed"

    turnstile = Turnstile(llama, monkeypatch)
    borrowed = make(llama).start()
    turnstile.let_pass(1)
    threading.Timer(0.05, turnstile.let_pass, [30]).start()
    borrowed.close()
    assert borrowed.wait(0) and llama.weights


def test_labels_show_spaces_bytes_and_ends(llama):
    tokenizer = llama.tokenizer
    assert token_label(tokenizer, tokenizer.bos_id) == "(begin)"
    assert token_label(tokenizer, tokenizer.eos_id) == "(end)"
    assert token_label(tokenizer, 3 + 0xC3) == "<0xC3>"
    assert token_label(tokenizer, 3 + ord(" ")) == "␣"
    assert token_label(tokenizer, 3 + ord("\n")) == "↵"
    assert token_label(tokenizer, 3 + 0x1B) == "\\x1b"


def test_percent_never_rounds_something_to_nothing_or_to_certain():
    assert percent(0.421) == "42.1 %"
    assert percent(0.0004) == "< 0.1 %"
    assert percent(0.9994) == "99.9 %" and percent(1.0) == "100 %"


def test_without_ipywidgets_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['ipywidgets'] = None\n"
        "import llama_edu.show, llama_edu.show.text.report\n"
        "for name in ('GenerationWidget', 'ComparisonWidget', 'PageMapWidget', 'guess'):\n"
        "    try:\n        getattr(llama_edu.show, name)\n"
        "    except llama_edu.LlamaEduError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.splitlines()
        == [
            "the widgets: ipywidgets is not installed, and this part needs it; run: "
            "pip install jupyterlab ipywidgets matplotlib"
        ]
        * 4
    )
