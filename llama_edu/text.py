"""Text from a file, made safe for a terminal: it is displayed and cannot control the terminal.

All functions replace characters that do not print (control characters, terminal escapes, direction
marks, unpaired surrogates, unassigned code points) with the escapes of a Python string. They differ
in the rest:

| function | line feeds | spaces, joiners | printable non-ASCII | length |
|---|---|---|---|---|
| `visible` | escaped | escaped, except " " | kept | full |
| `visible_lines` | kept | kept | kept | full |
| `one_line` | escaped | escaped, except " " | kept | cut |
| `quoted` | escaped | escaped, except " " | escaped | cut |
"""

from __future__ import annotations

#: Invisible, but harmless and needed: spaces other than " ", the soft hyphen, and the two joiners,
#: which Persian, Hindi and many emoji need.
_HARMLESS = frozenset(
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f"
    "\u3000\u00ad\u200c\u200d"
)


def visible(text: str) -> str:
    """The text on one line, with an escape for each character that does not print."""
    return text if text.isprintable() else "".join([_escape(c, keep="") for c in text])


def visible_lines(text: str) -> str:
    """A text of several lines, such as a story: as `visible`, but keeps line feeds and spaces."""
    return text if text.isprintable() else "".join([_escape(c, keep="\n") for c in text])


def one_line(text: str, at_most: int = 80) -> str:
    """As `visible`, cut to `at_most` characters; a text that was cut ends in "..."."""
    return _cut(visible(text[: at_most + 1]), at_most)


def quoted(value: object, at_most: int = 80) -> str:
    """A value as Python writes it, strings and bytes in quotes, in ASCII, cut like `one_line`.

    A string that was cut has no closing quote, so that it is not mistaken for the whole.
    """
    start = value[: at_most + 1] if isinstance(value, str | bytes) else value
    return _cut(ascii(start), at_most)


def _cut(text: str, at_most: int) -> str:
    return text if len(text) <= at_most else text[: at_most - 3] + "..."


def _escape(character: str, keep: str) -> str:
    if character.isprintable() or character in keep or (keep and character in _HARMLESS):
        return character
    return character.encode("unicode_escape").decode("ascii")
