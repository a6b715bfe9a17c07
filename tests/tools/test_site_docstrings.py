"""Our docstrings, read by the parser that the web site uses."""

from __future__ import annotations

import pytest

griffe = pytest.importorskip("griffe", reason="the extra site is not installed")
from site_docstrings import as_google  # noqa: E402  it imports griffe

DOCSTRING = """Scale rows first to last.

Args:
    first, last: numbers of rows.
    top_k ... min_p: as in SamplingSettings.
Returns:
    (n, dim) float32, a view: nothing is copied.
Raises:
    FormatError: a row is missing.
Source: arXiv 1910.07467.
"""


def test_each_part_of_a_docstring_is_a_section_of_its_own():
    options = {"returns_multiple_items": False, "returns_named_value": False}
    parsed = griffe.Docstring(as_google(DOCSTRING)).parse("google", warnings=False, **options)
    assert [section.kind.value for section in parsed] == [
        "text", "parameters", "returns", "raises", "text",
    ]  # fmt: skip
    names = [parameter.name.replace("\N{NO-BREAK SPACE}", " ") for parameter in parsed[1].value]
    assert names == ["first, last", "top_k ... min_p"]
    assert parsed[4].value == "**Source:** arXiv 1910.07467."


def test_a_docstring_of_sentences_stays_as_it_is():
    text = "One sentence. Source: mincore(2).\n\n    for a, b in pairs: ..."
    assert as_google(text) == text
