"""The steps panel: its controls choose what is drawn, and it is a picture where no kernel is."""

from __future__ import annotations

import base64

import pytest
from helpers.tiny import open_tiny

from llama_edu.errors import RequestError

pytest.importorskip("ipywidgets")
pytest.importorskip("matplotlib")
from llama_edu.show import StepsPanel


@pytest.fixture
def panel(tmp_path, rng, maker):
    with open_tiny(tmp_path, rng) as llama:
        yield maker(StepsPanel, llama=llama, text="the the a")()


def test_every_layer_and_head_can_be_looked_at(panel):
    first = panel.drawn.value
    assert "<img " in first and 'alt="Layer 0, 6 heads' in first
    panel.layer.value, panel.head.value = 2, 5
    assert "Layer 2, head 5" in panel.drawn.value and panel.drawn.value != first


def test_the_position_is_described_in_each_view(panel):
    panel.position.value = 0
    assert "position 0, 'BOS' looks at: 'BOS' 100%" in panel.about_position().replace("&#x27;", "'")
    panel.view.value = "what each layer would say"
    assert panel.layer.disabled and panel.head.disabled
    assert "4 rows upward" in panel.drawn.value
    assert panel.about_position().count("'") == 2 * 5
    panel.view.value = "size of x"
    assert panel.about_position().count(",") == 1 + 3
    assert "root mean square" in panel.words.value


def test_a_page_without_a_kernel_shows_the_last_picture_and_its_words(panel):
    panel.layer.value = 1
    bundle, metadata = panel._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["image/png"] in panel.drawn.value
    assert bundle["text/plain"].startswith("Layer 1, 6 heads: squares of ")
    assert metadata["image/png"]["alt"] == bundle["text/plain"]
    assert "looks at" in bundle["text/plain"]


def test_pieces_of_a_hostile_vocabulary_are_never_markup(tmp_path, rng, maker):
    from helpers.small_models import small_vocabulary

    pieces = small_vocabulary()
    at = next(i for i, (text, _) in enumerate(pieces) if text == b" the")
    pieces[at] = (b" the", 0.0)
    pieces[-1] = (b"<b>$x$", 100.0)
    with open_tiny(tmp_path, rng, pieces=pieces) as llama:
        panel = maker(StepsPanel, llama=llama, text="<b>$x$ a")()
        assert "<b>" not in panel.words.value
        panel.view.value = "what each layer would say"
        assert "<b>" not in panel.words.value


def test_a_text_that_makes_no_picture_is_refused(tmp_path, rng):
    with (
        open_tiny(tmp_path, rng) as llama,
        pytest.raises(RequestError, match=r"has \d+ tokens, expected 1 to 60"),
    ):
        StepsPanel(llama, "a b c d e f " * 20)
