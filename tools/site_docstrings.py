"""Docstrings for the website: an extension of griffe, named in mkdocs.yml."""

from __future__ import annotations

import re
from typing import Any

import griffe

#: "first, last: " and "temperature ... repeat_penalty: " at the start of an indented line.
_NAMES = re.compile(r"^( +)(\w+(?:(?:, | \.\.\. )\w+)+)(?=: )", re.M)

_SECTION = re.compile(r"\n+(?=(?:Args|Attributes|Returns|Yields|Raises|Source):)")
_SOURCE = re.compile(r"^Source:(?=\s)", re.M)


class DocstringsOfOurs(griffe.Extension):
    """Puts every docstring into the form that griffe's parser for Google's style expects."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite one docstring before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = as_google(obj.docstring.value)


def as_google(docstring: str) -> str:
    """The same docstring with three differences.

    Sections are separated: ours follow each other without blank lines, which griffe reads as text.
    "Source:", which is not a section for griffe, is set in bold like its titles. Several names
    before one colon are joined by no-break spaces: griffe would read the second as the type.
    """
    apart = _SECTION.sub("\n\n", docstring)
    titled = _SOURCE.sub("**Source:**", apart)
    return _NAMES.sub(lambda found: found[1] + found[2].replace(" ", "\N{NO-BREAK SPACE}"), titled)
