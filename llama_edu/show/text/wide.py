"""wide(): a table in plain text that scrolls sideways on a narrow page, where print() wraps."""

from __future__ import annotations

from llama_edu.html import preformatted


class Wide:
    """A text whose lines are not wrapped."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return preformatted(self.text)


def wide(result: object) -> Wide | None:
    """What print() would print, with lines that do not wrap; None (not measured) stays None."""
    return None if result is None else Wide(str(result))
