"""A PNG of palette colors, read back by an independent decoder."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.records import decoded

from llama_edu.errors import ShapeError
from llama_edu.show.figures.png import palette_png


def test_a_png_is_read_back_as_the_colors_that_were_given(rng):
    colors = rng.integers(0, 256, (256, 4), dtype=np.uint8)
    pixels = rng.integers(0, 256, (13, 29), dtype=np.uint8)
    assert np.array_equal(decoded(palette_png(pixels, colors)), colors[pixels])


def test_pixels_that_have_no_color_are_refused():
    colors = np.zeros((3, 4), np.uint8)
    with pytest.raises(ShapeError, match="color 3 is used, expected 0 to 2"):
        palette_png(np.full((2, 2), 3, np.uint8), colors)
    with pytest.raises(ShapeError, match=r"expected \(height, width\) uint8"):
        palette_png(np.zeros(4, np.uint8), colors)
    with pytest.raises(ShapeError, match=r"colors are \(3, 3\), expected \(1 to 256, 4\)"):
        palette_png(np.zeros((2, 2), np.uint8), np.zeros((3, 3), np.uint8))
