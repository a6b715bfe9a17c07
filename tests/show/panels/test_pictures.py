"""What every panel leaves on a page without a kernel: readable, safe, and the same every time."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from helpers.chat_model import open_chat_model
from helpers.small_models import small_vocabulary
from helpers.tiny import TOP_K, open_tiny, write_tiny

pytest.importorskip("ipywidgets")
pytest.importorskip("matplotlib")
from llama_edu.show import (
    ChatPanel,
    ComparisonWidget,
    GenerationStudio,
    GenerationWidget,
    PageMapWidget,
    StepsPanel,
)
from llama_edu.show.panels.parts.picture import Picture
from llama_edu.show.story.choice import Candidate, Choice
from llama_edu.show.story.token_colors import RARE, SHADES, token_spans

VIEW = "application/vnd.jupyter.widget-view+json"
EVIL = "<img src=x onerror=alert(1)>"
WRITTEN = {"prompt": "the <b>", "n_tokens": 12, "top_k": TOP_K, "seed": 5}


class Words(HTMLParser):
    """The text of a page, and the elements that it stands in, as if all style were dropped."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags, self.inside, self.open = "", [], {}, []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        for tag in self.open:
            self.inside[tag] = self.inside.get(tag, "") + data


def studio(folder, rng, maker, llama):
    return maker(GenerationStudio, **WRITTEN)(llama), lambda panel: panel.start().wait(60)


def generation(folder, rng, maker, llama):
    return maker(GenerationWidget, **WRITTEN)(llama), lambda panel: panel.start().wait(60)


def comparison(folder, rng, maker, llama):
    sides = {"left": {}, "right": {"temperature": 1.0, "top_k": TOP_K, "seed": 5}}
    make = maker(ComparisonWidget, prompt="the <b>", n_tokens=12, **sides)
    return make(llama), lambda panel: panel.start().wait(60)


def chat(folder, rng, maker, llama):
    return maker(ChatPanel, n_tokens=7, temperature=0.0)(llama), lambda panel: panel.send(
        "the <b>"
    ).wait(60)


def xray(folder, rng, maker, llama):
    path, tokenizer = write_tiny(folder, rng)
    make = maker(PageMapWidget, prompt="the", n_tokens=3, tokenizer=tokenizer)
    return make(path), lambda panel: panel.start().wait(60)


def steps(folder, rng, maker, llama):
    return maker(StepsPanel, llama=llama, text="the the a")(), lambda panel: True


@pytest.fixture(params=[studio, generation, comparison, chat, xray, steps])
def case(request, tmp_path, rng, maker):
    """A panel of each kind, and what lets it write."""
    opened = open_chat_model(tmp_path) if request.param is chat else open_tiny(tmp_path, rng)
    with opened as llama:
        yield request.param(tmp_path, rng, maker, llama)


def test_every_panel_leaves_a_picture_once_there_is_something_to_see(case):
    panel, write = case
    if not isinstance(panel, StepsPanel):
        data, _ = panel._repr_mimebundle_()
        assert set(data) == {"text/plain", VIEW} and data["text/plain"] == repr(panel)
        assert panel.picture() == Picture(repr(panel))
    assert write(panel)
    live, _ = panel._repr_mimebundle_()
    data, metadata = panel.picture()._repr_mimebundle_()
    assert live.pop(VIEW) and live == data and data["text/plain"] == repr(panel)
    assert len(data) == 2 and set(data) < {"text/plain", "text/html", "image/png"}
    assert metadata == ({"image/png": {"alt": repr(panel)}} if "image/png" in data else {})
    assert panel.picture() == panel.picture()


def test_a_picture_in_html_says_its_text_without_style_and_obeys_nothing(case):
    panel, write = case
    assert write(panel)
    html = panel.picture().html
    if not html:
        return
    assert "<script" not in html and "&lt;b&gt;" in html and "jp-Rendered" not in html
    assert not re.search(r"\d (tokens/s|ms|s)\b", html), "a time differs in every run"
    assert "max-height: 26em" not in html and "role=" not in html.replace('role="img"', "")
    words = Words(html)
    shown = words.inside["pre"]
    texts = panel.texts if isinstance(panel, ComparisonWidget) else [panel.text]
    for text in texts:
        assert text.replace("\x1b", r"\x1b").strip() in shown or text.isprintable() is False


def test_the_pictures_of_a_text_have_shades_a_legend_and_the_alternatives(case):
    panel, write = case
    if not isinstance(panel, GenerationStudio | GenerationWidget):
        return
    assert write(panel)
    panel.position_slider.value = 3
    html = panel.picture().html
    words = Words(html)
    assert words.inside["b"].startswith("the <b>") and words.tags.count("mark") == 1
    assert "was chosen at position" in words.text and words.tags.count("table") == 1
    assert words.tags.count("tr") >= 11 and all(label in words.text for *_, label in SHADES)


@pytest.mark.parametrize("marked", [None, 0])
def test_without_colors_an_unlikely_token_is_underlined(llama, marked):
    tokens = llama.tokenizer.encode("the the the the the", bos=False)
    chances = (0.9, RARE, RARE - 0.001, 0.0001)
    choices = [
        Choice(n, f"{n} ", Candidate(token, chance, chance), 1, ())
        for n, (token, chance) in enumerate(zip(tokens, chances, strict=False))
    ]
    html = token_spans(choices, llama.tokenizer, marked, underlined=True)
    assert Words(html).inside["ins"] == "2 3 "
    assert "<ins" not in token_spans(choices, llama.tokenizer, marked)
    assert RARE in [bound for bound, *_ in SHADES], "no shade begins at this bound"


def test_what_a_studio_looked_ahead_at_is_in_its_picture(llama, maker):
    panel = maker(GenerationStudio, **WRITTEN)(llama).start()
    assert panel.wait(60) and "and then, greedily" not in panel.picture().html
    assert panel.look_ahead().wait(60) and "and then, greedily" in panel.picture().html


def test_a_comparison_marks_the_first_difference(tmp_path, rng, maker):
    with open_tiny(tmp_path, rng) as llama:
        panel, write = comparison(tmp_path, rng, maker, llama)
        assert write(panel)
        words = Words(panel.picture().html)
        assert words.tags.count("mark") == 2 and panel.summary in words.text
        assert words.tags.count("pre") == 2 and "greedy:" in words.text


def test_a_conversation_is_turns_and_what_was_read_in_a_fold(tmp_path, rng, maker):
    with open_chat_model(tmp_path) as llama:
        panel, write = chat(tmp_path, rng, maker, llama)
        assert write(panel)
        words = Words(panel.picture().html)
        assert words.text.index("you") < words.text.index("the model")
        assert words.inside["details"].startswith("What the model really saw")
        assert "<|user|>" in words.inside["b"]


def test_pieces_of_a_hostile_vocabulary_are_never_markup(tmp_path, rng, maker):
    pieces = small_vocabulary()
    pieces = pieces[:259] + [(EVIL.encode(), score) for _, score in pieces[259:]]
    with open_tiny(tmp_path, rng, pieces=pieces) as llama:
        for kind in (studio, comparison):
            panel, write = kind(tmp_path, rng, maker, llama)
            assert write(panel)
            html = panel.picture().html
            assert "<img" not in html and "&lt;img" in html
            Words(html)


def test_a_panel_that_failed_says_so_in_words(tmp_path, maker):
    panel = maker(GenerationStudio)(tmp_path / "missing.gguf")
    assert panel.picture() == Picture(repr(panel)) and "missing.gguf" in repr(panel)
