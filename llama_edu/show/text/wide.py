"""wide(): a table in plain text that scrolls sideways on a narrow page, where print() wraps."""

from __future__ import annotations

from llama_edu.html import escaped_lines


class Wide:
    """A text whose lines are not wrapped."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return (
            f'<pre style="white-space: pre; overflow-x: auto; margin: 0">'
            f"{escaped_lines(self.text)}</pre>"
        )


def wide(result: object) -> Wide | None:
    """What print() would print, with lines that do not wrap; None (not measured) stays None."""
    return None if result is None else Wide(str(result))
