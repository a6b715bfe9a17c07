"""Docstrings as the web site reads them: an extension of griffe, named in mkdocs.yml."""

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

    Sections stand apart: ours follow each other without blank lines, which griffe takes for text.
    "Source:", which is no section of griffe's, is printed bold as its titles are. Names before one
    colon are kept together by no-break spaces: griffe would take the second for the type.
    """
    apart = _SECTION.sub("\n\n", docstring)
    titled = _SOURCE.sub("**Source:**", apart)
    return _NAMES.sub(lambda found: found[1] + found[2].replace(" ", "\N{NO-BREAK SPACE}"), titled)
