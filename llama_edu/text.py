"""Text from a file, made safe to show."""

from __future__ import annotations


def visible(text: str) -> str:
    """A text from a file with control characters and terminal escapes made visible."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
