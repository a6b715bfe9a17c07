"""GenerationStudio with no front end: going on, looking ahead, alternatives, saving, models."""

from __future__ import annotations

import threading

import pytest
from helpers.panels import n_written, wait_for
from helpers.small_models import small_vocabulary
from helpers.tiny import TOP_K, Turnstile, open_tiny, write_tiny

from llama_edu.errors import RequestError

pytest.importorskip("ipywidgets")
from llama_edu.show import GenerationStudio
from llama_edu.show.panels.parts.token_row import N_BUTTONS
from llama_edu.transformer.sampling import GREEDY

SETTINGS = {"prompt": "the", "n_tokens": 12, "top_k": TOP_K, "temperature": 1.0, "seed": 5}


@pytest.fixture
def make(maker):
    return maker(GenerationStudio, **SETTINGS)


def html_of(widget):
    """All HTML and all labels in a panel, from the outermost widget inward."""
    parts = [str(getattr(widget, "value", "")), str(getattr(widget, "description", ""))]
    return "\n".join([*parts, *(html_of(child) for child in getattr(widget, "children", ()))])


def all_widgets(widget):
    return [widget, *(w for child in getattr(widget, "children", ()) for w in all_widgets(child))]


def test_a_text_in_two_halves_is_the_text_in_one(llama, make):
    whole = make(llama, n_tokens=24).start()
    assert whole.wait(20)
    studio = make(llama).start()
    assert studio.wait(20) and studio.reason == "length"
    assert not studio.continue_button.disabled
    studio.continue_button.click()
    assert studio.wait(20)
    assert studio.text == whole.text and studio.tokens == whole.tokens
    assert studio.position_slider.max == 24


def test_a_stopped_text_goes_on_as_if_it_had_not_stopped(llama, make, monkeypatch):
    whole = make(llama).start()
    assert whole.wait(20)
    turnstile = Turnstile(llama, monkeypatch)
    studio = make(llama).start()
    turnstile.let_pass(3)
    wait_for(lambda: n_written(studio) == 3)
    studio.stop_button.click()
    turnstile.let_pass(1)
    assert studio.wait(20) and studio.reason == "stopped"
    n_stopped = n_written(studio)
    studio.controls.n_tokens.value = 12 - n_stopped
    turnstile.let_pass(20)
    assert studio.go_on().wait(20)
    assert 3 <= n_stopped <= 4 and studio.tokens == whole.tokens


def test_only_a_text_that_stopped_or_reached_its_length_goes_on(llama, make):
    studio = make(llama, n_tokens=49)
    assert not studio.can_go_on and studio.continue_button.disabled
    assert studio.go_on().wait(20) and studio.text == ""
    assert studio.start().wait(20) and studio.reason == "context"
    text = studio.text
    assert studio.continue_button.disabled
    assert studio.go_on().wait(20) and studio.text == text


def test_slider_buttons_and_choose_point_at_the_same_token(llama, make):
    studio = make(llama, n_tokens=20).start()
    assert studio.wait(20)
    studio.choose(15)
    assert studio.position_slider.value == 15
    shown = [b for b in studio.token_row.buttons if b.layout.display != "none"]
    assert len(shown) == N_BUTTONS
    chosen = [b for b in shown if b.button_style == "info"]
    assert len(chosen) == 1 and chosen[0].tooltip.endswith("no. 15")
    assert [int(b.tooltip.split()[-1]) for b in shown] == list(range(10, 21))
    shown[0].click()
    assert studio.position_slider.value == 10
    assert [b.button_style for b in studio.token_row.buttons].index("info") == N_BUTTONS // 2
    with pytest.raises(RequestError, match=r"new token no\. 21: the text has 20 of them"):
        studio.choose(21)


def test_looking_ahead_shows_what_the_model_would_have_said_greedily(llama, make):
    studio = make(llama).start()
    assert studio.wait(20)
    studio.choose(4)
    studio.alternatives.ahead_button.click()
    assert studio.wait(20)
    choice = studio.writing.choices[3]
    before = studio.tokens[: choice.position]
    assert len(studio._ahead.followed) == 10
    for candidate in choice.likeliest:
        alone = llama.generate_tokens([*before, candidate.id], 8, GREEDY)
        text = "".join(token.text for token in alone).removesuffix("\ufffd")
        assert studio._ahead.followed[candidate.id].removesuffix("(end)") == text
    assert "and then, greedily" in studio.view.table.value
    assert "…" not in studio.view.table.value


def test_writing_on_with_an_alternative_keeps_what_was_before_it(llama, make):
    studio = make(llama).start()
    assert studio.wait(20)
    before, old = studio.tokens, studio.writing
    studio.choose(6)
    position = old.choices[5].position
    token = studio.alternatives.token.options[1][1]
    studio.alternatives.token.value = token
    studio.alternatives.take_button.click()
    assert studio.wait(20) and studio.reason == "length"
    assert studio.tokens[:position] == before[:position]
    assert studio.tokens[position] == token != before[position]
    expected = llama.generate_tokens(
        [*before[:position], token], 12, studio.writing.settings, seed=5
    )
    list(expected)
    assert studio.tokens == expected.tokens
    assert studio.writing.choices[5].rank == 1 + [c.id for c in old.choices[5].likeliest].index(
        token
    )


def test_an_alternative_that_is_none_is_refused(llama, make):
    studio = make(llama)
    with pytest.raises(RequestError, match="no token is chosen; generate a text first"):
        studio.take_instead(5)
    assert studio.start().wait(20)
    unlikely = set(range(271)) - {c.id for c in studio.writing.choices[0].likeliest}
    with pytest.raises(RequestError, match="is not among the 10 likeliest at position"):
        studio.take_instead(unlikely.pop())


def test_generating_ends_looking_ahead(llama, make, monkeypatch):
    studio = make(llama).start()
    assert studio.wait(20)
    turnstile = Turnstile(llama, monkeypatch)
    studio.look_ahead()
    assert "Looking ahead" in studio._ahead.status.value
    studio.start()
    turnstile.let_pass(100)
    assert studio.wait(20) and not studio._ahead.is_busy
    assert studio.reason == "length" and studio._ahead.status.value == ""


def test_shading_can_be_switched_off_and_has_a_legend(llama, make):
    studio = make(llama).start()
    assert studio.wait(20)
    assert (
        "rgba(60, 140, 220" in studio.view.story.value and "less than 1 %" in studio._legend.value
    )
    studio.colored.value = False
    assert "rgba" not in studio.view.story.value and studio._legend.value == ""
    assert studio.view.story.value.count("<mark") == 1


def test_the_text_can_be_copied_and_saved_and_no_file_is_lost(llama, make, in_folder):
    studio = make(llama)
    studio.saving.button.click()
    assert "nothing is written yet" in studio.saving._message.value
    assert studio.start().wait(20)
    assert studio.saving.area.value == studio.text
    studio.saving.button.click()
    assert (in_folder / "story.txt").read_text("utf-8") == studio.text + "\n"
    assert "story.txt: " in studio.saving._message.value

    (in_folder / "story.txt").write_text("precious")
    studio.saving.button.click()
    assert "already exists and was not changed" in studio.saving._message.value
    assert (in_folder / "story.txt").read_text() == "precious"
    with pytest.raises(RequestError, match=r"story.txt: already exists"):
        studio.save("story.txt")
    studio.saving.replace.value = True
    studio.saving.button.click()
    assert (in_folder / "story.txt").read_text("utf-8") == studio.text + "\n"
    assert not studio.saving.replace.value, "the permission was for one time"
    with pytest.raises(RequestError, match=r"nowhere/story.txt: cannot be written, No such file"):
        studio.save("nowhere/story.txt")


def test_another_model_is_opened_by_path_and_a_bad_path_is_said(tmp_path, rng, llama, make):
    studio = make(llama).start()
    assert studio.wait(20)
    other = tmp_path / "other"
    other.mkdir()
    model, tokenizer = write_tiny(other, rng)
    studio.chooser.path.value = str(tmp_path / "missing.bin")
    studio.chooser.button.click()
    assert studio.wait(20)
    assert "missing.bin" in studio.bar.status.value and 'role="alert"' in studio.bar.status.value
    assert studio.llama is llama, "the model that was open stays open"

    studio.chooser.path.value = str(model)
    studio.chooser.tokenizer.value = str(tokenizer)
    studio.chooser.button.click()
    assert studio.wait(20)
    opened = studio.llama
    assert opened is not llama and llama.weights and studio.text == ""
    assert studio.start().wait(20) and studio.reason == "length"
    assert studio.open_model(model, tokenizer).wait(20)
    assert not opened.weights, "a model that the studio opened is closed when another comes"


def test_two_studios_on_one_model_do_not_disturb_each_other(llama, make):
    alone = []
    for seed in (1, 2):
        studio = make(llama, seed=seed).start()
        assert studio.wait(20) and studio.go_on().wait(20)
        alone.append(studio.text)
    pair = [make(llama, seed=seed).start() for seed in (1, 2)]
    assert all(studio.wait(20) for studio in pair)
    for studio in pair:
        studio.go_on()
    assert all(studio.wait(20) for studio in pair)
    assert [studio.text for studio in pair] == alone and alone[0] != alone[1]


def test_every_control_says_what_it_does(llama, make):
    studio = make(llama).start()
    assert studio.wait(20)
    for widget in all_widgets(studio):
        if hasattr(widget, "tooltip") and hasattr(widget, "description"):
            if type(widget).__name__ in ("HTML", "IntProgress"):
                continue
            assert widget.tooltip, f"{type(widget).__name__} {widget.description!r}"


def test_hostile_pieces_are_text_in_every_part(tmp_path, rng, make):
    evil = b"</span><script>alert(1)</script>\x1b[31m\"'&"
    pieces = [
        (evil, score) if n > 258 else (piece, score)
        for n, (piece, score) in enumerate(small_vocabulary())
    ]
    llama = open_tiny(tmp_path, rng, pieces=pieces)
    studio = make(llama, top_k=0, prompt="<img src=x onerror=alert(2)>", n_tokens=8)
    for seed in range(40):
        studio.controls.seed.value = seed
        assert studio.start().wait(20)
        if "<script>" in studio.text:
            break
    assert "<script>" in studio.text, "the model never said it: this test shows nothing"
    for number in range(1, n_written(studio) + 1):
        studio.choose(number)
        assert studio.look_ahead().wait(20)
        for part in (studio.bar.title, studio.bar.status, studio.view.story, studio.view.table):
            assert "<script" not in part.value and "<img" not in part.value
            assert "&lt;script" in part.value or part is not studio.view.story
    assert "\x1b" not in repr(studio) and "\\x1b[31m" in repr(studio)
    assert "\x1b" not in studio.view.table.value
    studio.close()
    llama.close()


def test_a_cell_that_runs_again_stops_its_earlier_text(llama, make, monkeypatch):
    from llama_edu.show.runtime import same_cell

    monkeypatch.setattr(same_cell, "_made", {})
    runs = iter([("cell-1", "run-1"), ("cell-2", "run-2"), ("cell-1", "run-3"), ("", "")])
    monkeypatch.setattr(same_cell, "_cell_and_run", lambda: next(runs))
    turnstile = Turnstile(llama, monkeypatch)
    first, elsewhere = make(llama).start(), make(llama).start()
    make(llama)
    make(llama)
    turnstile.let_pass(30)
    assert first.wait(20) and first.reason == "stopped" and n_written(first) <= 1
    assert elsewhere.wait(20) and elsewhere.reason == "length"


def test_closing_leaves_no_thread(llama, make, monkeypatch):
    before = set(threading.enumerate())
    studio = make(llama).start()
    assert studio.wait(20)
    turnstile = Turnstile(llama, monkeypatch)
    studio.look_ahead()
    threading.Timer(0.05, turnstile.let_pass, [30]).start()
    studio.close()
    wait_for(lambda: {t for t in threading.enumerate() if "token" not in t.name} <= before)


def test_without_a_front_end_the_text_stands_alone(llama, make):
    studio = make(llama)
    assert repr(studio).startswith("GenerationStudio on tiny.bin, nothing written yet.\n")
    assert studio.start().wait(20)
    bundle, _ = studio._repr_mimebundle_()
    assert "12 new tokens, the requested length is reached" in bundle["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
