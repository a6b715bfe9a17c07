"""Text from a file made safe for a terminal: it shows what is there and commands nothing.

All functions turn what does not print (control characters, terminal escapes, marks of direction,
half a surrogate pair, what Unicode has not assigned) into the escapes of a Python string. They
differ in what else they do:

| function | line ends | spaces, joiners | printable non-ASCII | length |
|---|---|---|---|---|
| `visible` | escaped | escaped, but " " | stays | whole |
| `visible_lines` | stay | stay | stays | whole |
| `one_line` | escaped | escaped, but " " | stays | cut |
| `quoted` | escaped | escaped, but " " | escaped | cut |
"""

from __future__ import annotations

#: Invisible, but harmless and needed: spaces that are not " ", soft hyphen, and the two joiners, of
#: which Persian, Hindi and many emoji are made.
_HARMLESS = frozenset(
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f"
    "\u3000\u00ad\u200c\u200d"
)


def visible(text: str) -> str:
    """The text on one line, each character that does not print as its escape."""
    return text if text.isprintable() else "".join([_escape(c, keep="") for c in text])


def visible_lines(text: str) -> str:
    """A text of several lines, such as a story: as `visible`, but line ends and spaces stay."""
    return text if text.isprintable() else "".join([_escape(c, keep="\n") for c in text])


def one_line(text: str, at_most: int = 80) -> str:
    """As `visible`, in `at_most` characters or fewer; a longer text ends in "..."."""
    return _cut(visible(text[: at_most + 1]), at_most)


def quoted(value: object, at_most: int = 80) -> str:
    """A value as Python writes it, strings and bytes in quotes, in ASCII, cut like `one_line`.

    The closing quote is cut off with the rest: the start is not to be taken for the whole.
    """
    start = value[: at_most + 1] if isinstance(value, str | bytes) else value
    return _cut(ascii(start), at_most)


def _cut(text: str, at_most: int) -> str:
    return text if len(text) <= at_most else text[: at_most - 3] + "..."


def _escape(character: str, keep: str) -> str:
    if character.isprintable() or character in keep or (keep and character in _HARMLESS):
        return character
    return character.encode("unicode_escape").decode("ascii")
