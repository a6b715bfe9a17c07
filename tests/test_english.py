"""Plain technical English: words that no native writer of it uses do not come back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Each was in this project once. The bundled model's stories may have them.
UNUSUAL = re.compile(
    r"\b(somebody|nobody|anybody|whoever|so many of|not so many|anew|worth ?while|whilst)\b"
    r"|among other things|in a straight line with|can express no other|(said|refused?s?) in words"
    r"|ways not taken|look what|is told what|which \w+ has not\b|a stranger|to the bit\b",
    re.IGNORECASE,
)
#: numpy's spelling is American.
BRITISH = re.compile(
    r"colour|\bgrey|quantis|normalis|recognis|initialis|serialis|optimis|organis|behaviour"
    r"|neighbour|favour|\bcentre|\blicence|catalogue|labelled|cancelled|artefact|learnt\b",
    re.IGNORECASE,
)
PAGES = [
    *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb"),
    *ROOT.glob("benchmarks/**/*"), *ROOT.glob("llama_edu/**/*.py"),
]  # fmt: skip
TEXTS = [page for page in PAGES if page.suffix in (".md", ".py", ".ipynb")]


def text_of(page: Path) -> str:
    """A page as people read it, without line breaks; of a notebook its cells, without outputs."""
    text = page.read_text("utf-8")
    if page.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_docstring_and_error_is_plain_english(page):
    text = text_of(page)
    found = [*UNUSUAL.finditer(text), *BRITISH.finditer(text)]
    assert [text[max(0, m.start() - 40) : m.end() + 20] for m in found] == []


@pytest.mark.parametrize(
    "sentence",
    ["what somebody types", "begins anew", "said in words", "a colour", "behaviour", "quantised"],
)
def test_a_word_that_came_back_would_be_found(sentence):
    assert UNUSUAL.search(sentence) or BRITISH.search(sentence)
