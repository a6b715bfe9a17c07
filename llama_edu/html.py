"""Text and facts as HTML, for notebooks. Text from a file is displayed; its markup is escaped."""

from __future__ import annotations

from collections.abc import Mapping

from llama_edu.text import one_line, visible, visible_lines

#: Longer values are cut: a hostile file may carry a name of megabytes.
_LONGEST_VALUE = 200

_LEFT = "text-align: left; padding: 0 12px 0 0; vertical-align: top"

# JupyterLab's color variables follow its light and dark themes; the second value is for pages
# that do not define them.
MUTED = "color: var(--jp-ui-font-color2, #777)"
# Exported pages give <pre> inside HTML the font of prose; where style is dropped, <pre> is enough.
_PREFORMATTED = (
    "font-family: var(--jp-code-font-family, monospace); white-space: pre; overflow-x: auto; "
    "line-height: 1.3; margin: 0; padding: 0; background: none; color: inherit"
)
ERROR = "color: var(--jp-error-color1, #d32f2f); overflow-wrap: anywhere"


def escaped(text: str) -> str:
    """A text as HTML on one line: `text.visible`, with markup and quotes escaped."""
    return _no_markup(visible(text))


def escaped_lines(text: str) -> str:
    """A text of several lines as HTML: `text.visible_lines`, with markup and quotes escaped."""
    return _no_markup(visible_lines(text))


def preformatted(text: str) -> str:
    """Lines as they are, in letters of one width, on any page; long ones scroll."""
    return f'<pre style="{_PREFORMATTED}">{escaped_lines(text)}</pre>'


def note_html(text: str, *, is_error: bool = False) -> str:
    """A sentence about a model or a state; an error is colored, and announced by screen readers."""
    if not is_error:
        return f'<div style="line-height: 1.5; {MUTED}">{escaped_lines(text)}</div>'
    return f'<div role="alert" style="line-height: 1.5; {ERROR}">{escaped_lines(text)}</div>'


def facts_html(title: str, facts: Mapping[str, object]) -> str:
    """A title and a table of two columns; integers get thousands separators, long values are cut.

    Title, names and values are escaped here.
    """
    rows = "".join(
        f'<tr><th scope="row" style="{_LEFT}; font-weight: normal">{_value_html(name)}</th>'
        f'<td style="{_LEFT}">{_value_html(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f"<p><b>{_value_html(title)}</b></p><table>{rows}</table>"


def _value_html(value: object) -> str:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return escaped(one_line(f"{value:,}" if is_count else str(value), _LONGEST_VALUE))


def _no_markup(text: str) -> str:
    from html import escape  # loads the table of all HTML entities, which only notebooks need

    return escape(text)
