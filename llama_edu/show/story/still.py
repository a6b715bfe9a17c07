"""Texts as HTML for pages without a kernel: whole, without scrolling, and readable without style.

GitHub drops style and classes. So what colors say is said by elements too: the prompt is bold, a
token that the model found unlikely is underlined, and tables are tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llama_edu.html import escaped_lines, note_html
from llama_edu.show.story.choice import Choice
from llama_edu.show.story.description import settings_line
from llama_edu.show.story.token_colors import RARE, legend_html, token_spans
from llama_edu.show.story.token_html import PROSE, choice_html
from llama_edu.show.story.writing import Writing
from llama_edu.tokenizer.protocol import Tokenizer

_BOX = (
    "border: 1px solid var(--jp-border-color2, #bbb); border-radius: 3px; padding: 8px 12px; "
    f"margin: 4px 0; background: none; {PROSE}"
)
_LEGEND = f"Underlined: less than {100 * RARE:.0f} %. The less likely, the stronger the shade:"


def still_box(body: str) -> str:
    """A text in a frame that grows with it. `body` is HTML, escaped already."""
    return f'<pre style="{_BOX}">{body}</pre>'


def still_story_html(
    writing: Writing,
    marked: int | None = None,
    table: Callable[[Choice, Tokenizer], str] = choice_html,
) -> str:
    """A text shaded by surprise, what the shades mean, and the alternatives to one token.

    Args:
        marked: index into writing.choices of the token that is marked and explained, or None.
        table: makes HTML of the alternatives to a choice.
    """
    choices: Sequence[Choice] = list(writing.choices)
    spans = token_spans(choices, writing.tokenizer, marked, underlined=True)
    parts = [
        note_html(f"{len(choices)} new tokens, {settings_line(writing.settings)}"),
        still_box(f"<b>{escaped_lines(writing.prompt)}</b>{spans}"),
        note_html(_LEGEND),
        legend_html(),
    ]
    if marked is not None:
        parts.append(table(choices[marked], writing.tokenizer))
    return "".join(parts)
