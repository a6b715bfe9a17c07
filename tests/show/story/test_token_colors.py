"""Shades by probability: legible in both themes, and different in lightness."""

from __future__ import annotations

import pytest

from llama_edu.show.story.token_colors import SHADE_RGB, SHADES, legend_html, opacity_of

#: JupyterLab's page and text colors: light theme, dark theme.
THEMES = [((255, 255, 255), (33, 33, 33)), ((17, 17, 17), (255, 255, 255))]


def luminance(rgb):
    """Relative luminance, from WCAG 2.1."""
    parts = [c / 255 for c in rgb]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("page", "text"), THEMES)
def test_text_is_legible_on_every_shade_and_the_shades_differ_in_lightness(page, text):
    grounds = [
        tuple((1 - opacity) * p + opacity * s for p, s in zip(page, SHADE_RGB, strict=True))
        for _, opacity, _ in SHADES
    ]
    assert all(contrast(ground, text) >= 4.5 for ground in grounds)
    steps = [luminance(ground) for ground in grounds]
    assert steps == sorted(steps) or steps == sorted(steps, reverse=True)
    assert len({round(step, 3) for step in steps}) == len(SHADES)


def test_less_likely_tokens_are_darker_and_the_legend_names_every_shade():
    probabilities = [1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0]
    opacities = [opacity_of(p) for p in probabilities]
    assert opacities == [0, 0, 0.2, 0.2, 0.38, 0.38, 0.56, 0.56, 0.75, 0.75]
    assert all(words in legend_html() for _, _, words in SHADES)
