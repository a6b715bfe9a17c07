"""One ink for light and dark pages: contrast, lightness, no ground; in every figure of ours."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

import llama_edu.show
from llama_edu.show.figures import ink
from llama_edu.show.figures.alt_figure import AltFigure

pytest.importorskip("matplotlib")

#: A white page, and the dark one of JupyterLab.
WHITE, DARK_PAGE = "#ffffff", "#111111"


def lightness(color: str) -> float:
    return ink.luminance(tuple(value / 255 for value in bytes.fromhex(color[1:])))


def contrast(one: str, other: str) -> float:
    low, high = sorted((lightness(one), lightness(other)))
    return (high + 0.05) / (low + 0.05)


def pixels_of(png: bytes) -> np.ndarray:
    """(height, width, 4) float32 from 0 to 1."""
    from matplotlib import image

    return image.imread(io.BytesIO(png))


def test_the_contrast_of_black_and_white_is_the_highest_there_is():
    assert contrast("#000000", WHITE) == pytest.approx(21)
    assert contrast("#777777", WHITE) == pytest.approx(4.48, abs=0.005)  # as WebAIM's checker says


def test_text_is_as_easy_to_read_on_white_as_on_a_dark_page():
    on_white, on_dark = contrast(ink.INK, WHITE), contrast(ink.INK, DARK_PAGE)
    assert min(on_white, on_dark) > 4.3 and abs(on_white - on_dark) < 0.1


@pytest.mark.parametrize("page", [WHITE, DARK_PAGE])
def test_every_line_can_be_seen_on_both_pages(page):
    assert min(contrast(color, page) for color in ink.LINES) >= 3
    assert len(set(ink.LINES)) == len(ink.LINES) == 8


def test_areas_side_by_side_differ_in_lightness_too():
    assert contrast(ink.DARK, ink.MIDDLE) > 1.7 and contrast(ink.MIDDLE, ink.LIGHT) > 1.7


@pytest.mark.parametrize("color", [*ink.LINES, ink.MIDDLE, ink.LIGHT, "#888888"])
def test_text_on_an_area_has_the_better_of_two_colors(color):
    chosen = ink.on(color)
    (other,) = {ink.ON_LIGHT, ink.ON_DARK} - {chosen}
    assert contrast(chosen, color) >= contrast(other, color) and contrast(chosen, color) > 3.4


@pytest.fixture
def drawn() -> AltFigure:
    figure = ink.new_figure("drawn", 3, 2)
    left, right = figure.subplots(1, 2)
    left.plot([1, 2], [1, 3], label="a line")
    left.set_title("title")
    left.set_xlabel("below")
    left.legend()
    right.text(0.5, 0.5, "kept", color=ink.BLUE)
    right.annotate("note", (0.1, 0.1))
    figure.text(0, 0, "at the foot")
    return AltFigure(figure, "two plots")


def test_the_png_has_no_ground_and_its_text_is_gray(drawn):
    pixels = pixels_of(drawn.png())
    assert pixels.shape == (200, 300, 4)
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3] == 0).all()  # all four corners
    assert (pixels[..., 3] == 0).mean() > 0.7  # the plots' insides too
    inked = pixels[pixels[..., 3] > 0.95][:, :3]
    assert inked.min(axis=1).max() < 0.9, "something white"
    assert inked.max(axis=1).min() > 0.4, "something black"


def test_text_keeps_the_color_that_it_was_given(drawn):
    drawn.png()
    colors = {text.get_text(): text.get_color() for text in drawn.figure.findobj(_is_text)}
    assert colors["kept"] == ink.BLUE
    for name in ("title", "below", "a line", "note", "at the foot"):
        assert colors[name] == ink.INK


def _is_text(artist: object) -> bool:
    return hasattr(artist, "get_text") and hasattr(artist, "get_fontsize")


def test_the_mimebundle_has_the_words_and_asks_for_no_ground(drawn):
    data, metadata = drawn._repr_mimebundle_()
    assert data["text/plain"] == "two plots"
    assert metadata == {"image/png": {"alt": "two plots"}}


def test_drawing_leaves_the_settings_of_the_reader_as_they_are():
    import matplotlib

    before = dict(matplotlib.rcParams)
    AltFigure(ink.new_figure("one", 1, 1), "nothing").png()
    assert dict(matplotlib.rcParams) == before


def test_every_figure_of_ours_is_made_with_this_ink():
    """No other module makes a Figure, or names black or white as a color."""
    folder = Path(llama_edu.show.__file__).parent
    found = [
        (path.name, word)
        for path in (folder / "figures").rglob("*.py")
        for word in (".Figure(", 'color="white"', '"black"')
        if path.name != "ink.py" and word in path.read_text("utf-8")
    ]
    assert found == []
