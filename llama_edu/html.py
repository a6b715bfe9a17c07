"""A few facts about an object as HTML, for notebooks. Every name and value is escaped here."""

from __future__ import annotations

from collections.abc import Mapping

from llama_edu.text import visible

#: Longer values are cut: a hostile file may carry a name of megabytes.
_LONGEST_VALUE = 200

_LEFT = "text-align: left; padding: 0 12px 0 0; vertical-align: top"


def facts_html(title: str, facts: Mapping[str, object]) -> str:
    """A title and a table of two columns; text from files shows as text and nothing else.

    Control characters become their escapes; integers get thousands separators.
    """
    rows = "".join(
        f'<tr><th scope="row" style="{_LEFT}; font-weight: normal">{_shown(name)}</th>'
        f'<td style="{_LEFT}">{_shown(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f"<p><b>{_shown(title)}</b></p><table>{rows}</table>"


def _shown(value: object) -> str:
    from html import escape  # brings every named character of HTML: only where a notebook looks

    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if len(text) > _LONGEST_VALUE:
        text = text[:_LONGEST_VALUE] + "..."
    return escape(visible(text))
