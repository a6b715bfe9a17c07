"""A text with every token shaded by its probability: the less likely, the darker.

One hue in several strengths, so that the shades differ without color vision too. They are
transparent, so that they suit light and dark themes, and the text stays readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from llama_edu.html import escaped, escaped_lines
from llama_edu.show.story.characters import character_runs
from llama_edu.show.story.choice import Choice
from llama_edu.show.story.token_html import MARK, percent, story_box
from llama_edu.show.story.writing import Writing
from llama_edu.tokenizer.protocol import Tokenizer

#: A blue between the two themes' backgrounds, so that its weakest shade is visible on both.
SHADE_RGB = (60, 140, 220)

#: A token less likely than this can be underlined, for pages without colors; a bound of SHADES.
RARE = 0.05

#: The least probability for a shade, the shade's opacity, and its label in the legend.
SHADES = (
    (0.5, 0.0, "50 % or more"),
    (0.2, 0.2, "20 to 50 %"),
    (0.05, 0.38, "5 to 20 %"),
    (0.01, 0.56, "1 to 5 %"),
    (0.0, 0.75, "less than 1 %"),
)


def opacity_of(probability: float) -> float:
    """The opacity of the shade of a token of this probability, 0 to 0.75."""
    return next(opacity for bound, opacity, _ in SHADES if probability >= bound)


def colored_story_html(writing: Writing, marked: int | None = None) -> str:
    """The text so far, prompt in bold, new tokens shaded by the model's own probability.

    A character of several tokens has the shade of its least likely one.

    Args:
        marked: index into writing.choices, or None while the text grows. With an index, pointing at
            a token shows its probability and rank. A part of a character marks all of it.
    """
    body = f"<b>{escaped_lines(writing.prompt)}</b>"
    return story_box(body + token_spans(writing.choices, writing.tokenizer, marked))


def token_spans(
    choices: Sequence[Choice],
    tokenizer: Tokenizer,
    marked: int | None,
    *,
    shaded: bool = True,
    underlined: bool = False,
) -> str:
    """The texts of tokens, one of them marked, shaded by probability or not.

    Args:
        underlined: whether those less likely than RARE are underlined too; an element does that,
            which stays where style is dropped.
    """
    choices = list(choices)
    runs = list(dict.fromkeys(character_runs(choices, tokenizer)))
    parts = [[choices[i] for i in run] for run in runs]
    if marked is None:
        return "".join(
            _span(opacity if shaded else 0, "".join([_text(p) for p in same]), "", underlined)
            for opacity, same in groupby(parts, _opacity)
        )
    return "".join(
        _part_html(part, is_marked=marked in run, is_shaded=shaded, is_underlined=underlined)
        for run, part in zip(runs, parts, strict=True)
    )


def legend_html() -> str:
    """What the shades mean, in one line."""
    samples = " ".join(
        f'<span style="{_shade(opacity)}; border: 1px solid var(--jp-border-color1, #bbb); '
        f"color: var(--jp-content-font-color1, inherit); padding: 0 6px; white-space: nowrap; "
        f'display: inline-block; margin: 1px 2px">{words}</span>'
        for _, opacity, words in SHADES
    )
    return (
        '<div role="img" aria-label="The less likely the model found a token, the darker" '
        f'style="line-height: 1.6">{samples}</div>'
    )


def _text(part: list[Choice]) -> str:
    return escaped_lines("".join([choice.text for choice in part]))


def _opacity(part: list[Choice]) -> float:
    return opacity_of(min(choice.chosen.probability for choice in part))


def _part_html(part: list[Choice], *, is_marked: bool, is_shaded: bool, is_underlined: bool) -> str:
    """A token, or the tokens of one character, whose probabilities are listed."""
    says = [f"{percent(c.chosen.probability)}, likeliest no. {c.rank}" for c in part]
    together = f"{len(part)} tokens: " if len(part) > 1 else ""
    hover = f'title="{escaped(together + "; ".join(says))}"'
    if is_marked:
        return f'<mark style="{MARK}" {hover}>{_text(part)}</mark>'
    return _span(_opacity(part) if is_shaded else 0, _text(part), hover, is_underlined)


def _span(opacity: float, html: str, hover: str, is_underlined: bool) -> str:
    if not opacity and not hover:
        return html
    tag = "ins" if is_underlined and opacity > opacity_of(RARE) else "span"
    style = f' style="{_shade(opacity)}"' if opacity else ""
    return f"<{tag}{style} {hover}>{html}</{tag}>" if hover else f"<{tag}{style}>{html}</{tag}>"


def _shade(opacity: float) -> str:
    red, green, blue = SHADE_RGB
    return f"background: rgba({red}, {green}, {blue}, {opacity:g})"
