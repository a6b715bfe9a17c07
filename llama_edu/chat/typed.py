"""Text in which every character shows who wrote it: the template, or a person or the model.

A template may trim, cut, join and compare what it is given, and only its result is seen. So before
a message goes into a template, each of its characters that occurs in a special token's name is
replaced by a stand-in: a code point of the private planes that occurs nowhere else. Whatever the
template does to the text, the stand-ins travel with it, and `</s>` in a result is the template's
exactly if it stands there in plain characters.

The template must not notice. `Typed` is a string of characters and stand-ins whose methods answer
as the real text would, and whose results keep the stand-ins. What they miss is found by the caller,
who renders the real text as well and compares.

Run inside the process of sandbox.py, so it imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


class StandIns:
    """The stand-ins of one rendering: `hidden` puts them in, `real` takes them out again."""

    def __init__(self, characters: str, stand_ins: str) -> None:
        """Two texts of equal length; neither has a character twice or one of the other."""
        self._in = str.maketrans(characters, stand_ins)
        self._out = str.maketrans(stand_ins, characters)
        self._stand_ins = frozenset(stand_ins)

    def hidden(self, text: str) -> Typed:
        """The text with a stand-in for each character that has one."""
        return Typed(str.translate(text, self._in), self)

    def real(self, text: str) -> str:
        """The text itself, without stand-ins."""
        return str.translate(text, self._out)

    def are_in(self, text: str) -> bool:
        """Whether a text has stand-ins."""
        return not self._stand_ins.isdisjoint(text)


class Typed(str):
    """A string of characters and stand-ins that looks like the real text to a template.

    Everything that Python itself does with its characters (joining, formatting, printing) sees and
    keeps the stand-ins. Methods that look at the text look at the real one.
    """

    _among: StandIns
    _text: str | None

    def __new__(cls, characters: str, among: StandIns) -> Typed:
        """A string with these characters, some of which are stand-ins."""
        made = super().__new__(cls, characters)
        made._among = among
        made._text = None
        return made

    @property
    def _real(self) -> str:
        if self._text is None:
            self._text = self._among.real(self)
        return self._text

    def _cut(self, start: int, end: int) -> Typed:
        return Typed(super().__getitem__(slice(start, end)), self._among)

    def _plain(self, value: Any) -> Any:
        """An argument without stand-ins."""
        if isinstance(value, str):
            return self._among.real(value)
        return tuple(map(self._plain, value)) if isinstance(value, tuple) else value

    # how it looks

    def __str__(self) -> str:
        return self  # the default would be a plain string with the stand-ins

    def __repr__(self) -> str:
        return repr(self._real)

    def __hash__(self) -> int:
        return hash(self._real)

    def __eq__(self, other: object) -> bool:
        return self._real == self._plain(other)

    def __ne__(self, other: object) -> bool:
        return self._real != self._plain(other)

    def __lt__(self, other: str) -> bool:
        return self._real < self._plain(other)

    def __le__(self, other: str) -> bool:
        return self._real <= self._plain(other)

    def __gt__(self, other: str) -> bool:
        return self._real > self._plain(other)

    def __ge__(self, other: str) -> bool:
        return self._real >= self._plain(other)

    def __contains__(self, part: object) -> bool:
        return self._plain(part) in self._real

    # parts of it, character by character as they are

    def __getitem__(self, key: Any) -> Typed:
        return Typed(super().__getitem__(key), self._among)

    def __iter__(self) -> Iterator[str]:
        return (self._cut(i, i + 1) for i in range(len(self)))

    def __add__(self, other: str) -> Typed:
        return Typed(super().__add__(other), self._among)

    def __radd__(self, other: str) -> Typed:
        return Typed(str.__add__(other, self), self._among)

    def __mul__(self, count: Any) -> Typed:
        return Typed(super().__mul__(count), self._among)

    __rmul__ = __mul__

    def strip(self, chars: str | None = None) -> Typed:
        return self.lstrip(chars).rstrip(chars)

    def lstrip(self, chars: str | None = None) -> Typed:
        return self._cut(len(self) - len(self._real.lstrip(self._plain(chars))), len(self))

    def rstrip(self, chars: str | None = None) -> Typed:
        return self._cut(0, len(self._real.rstrip(self._plain(chars))))

    def removeprefix(self, prefix: str) -> Typed:
        return self._cut(len(self) - len(self._real.removeprefix(self._plain(prefix))), len(self))

    def removesuffix(self, suffix: str) -> Typed:
        return self._cut(0, len(self._real.removesuffix(self._plain(suffix))))

    def split(self, sep: str | None = None, maxsplit: Any = -1) -> list[str]:  # type: ignore[override]
        return self._parts(self._real.split(self._plain(sep), maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: Any = -1) -> list[str]:  # type: ignore[override]
        return self._parts(self._real.rsplit(self._plain(sep), maxsplit), sep)

    def partition(self, sep: str) -> tuple[str, str, str]:
        head, found, tail = self._parts(self._real.partition(self._plain(sep)), "")
        return head, found, tail

    def rpartition(self, sep: str) -> tuple[str, str, str]:
        head, found, tail = self._parts(self._real.rpartition(self._plain(sep)), "")
        return head, found, tail

    def splitlines(self, keepends: bool = False) -> list[str]:  # type: ignore[override]
        whole = self._parts(self._real.splitlines(keepends=True), "")
        if keepends:
            return whole
        lengths = map(len, self._real.splitlines())
        return [line[:length] for line, length in zip(whole, lengths, strict=True)]

    def _parts(self, parts: Sequence[str], sep: str | None) -> list[str]:
        """Where these parts of the real text stand, with `sep` between them (None: spaces)."""
        found: list[str] = []
        at = 0
        for part in parts:
            if sep is None:
                at = self._real.index(part, at)
            found.append(self._cut(at, at + len(part)))
            at += len(part) + len(sep or "")
        return found

    def replace(self, old: str, new: str, count: Any = -1) -> Typed:  # type: ignore[override]
        return Typed(str.join(new, self._pieces_without(self._plain(old), count)), self._among)

    def _pieces_without(self, old: str, count: Any) -> list[str]:
        if old:
            return self.split(old, count)
        n = len(self) + 1 if count < 0 else min(count, len(self) + 1)  # one before each, one after
        if n == 0:
            return [self]
        return ["", *(self._cut(i, i + 1) for i in range(n - 1)), self._cut(n - 1, len(self))]


def _of_the_real_text(name: str) -> Any:
    """A method that answers a question about the real text."""
    of_str = getattr(str, name)

    def method(self: Typed, *args: Any) -> Any:
        return of_str(self._real, *map(self._plain, args))

    return method


def _made_from_the_real_text(name: str) -> Any:
    """A method that makes another text of it; all of that counts as typed."""
    of_str = getattr(str, name)

    def method(self: Typed) -> Typed:
        return self._among.hidden(of_str(self._real))

    return method


for _name in ("upper", "lower", "casefold", "title", "capitalize", "swapcase"):
    setattr(Typed, _name, _made_from_the_real_text(_name))
for _name in (
    "startswith", "endswith", "find", "rfind", "index", "rindex", "count", "isalnum", "isalpha",
    "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable",
    "isspace", "istitle", "isupper", "encode",
):  # fmt: skip
    setattr(Typed, _name, _of_the_real_text(_name))
