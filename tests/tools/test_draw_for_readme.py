"""The README's figures are of the bundled model, and its words for them have their numbers."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import draw_for_readme
import pytest

import llama_edu

README = Path(draw_for_readme.__file__).parents[1] / "README.md"


@pytest.mark.skipif(sys.platform != "linux", reason="page counts need Linux")
def test_the_readme_shows_both_and_describes_them_with_their_numbers(tmp_path):
    pytest.importorskip("matplotlib")
    try:
        llama_edu.bundled_checkpoint()
    except llama_edu.LlamaEduError:
        pytest.skip("the bundled checkpoint is not there")
    figures = draw_for_readme.figures(tmp_path)
    shown = dict(re.findall(r"!\[([^\]]*)\]\(docs/(\w+)\.png\)", README.read_text("utf-8")))
    words = {name: alt.replace("\n", " ") for alt, name in shown.items()}
    assert set(figures) == {"way", "pages"} <= set(words)
    for number in ("11,300,448 bytes", "2,759 pages", "1,024"):
        assert number in figures["way"].alt and number in words["way"]
    assert "0 of 2,759 pages touched" in figures["pages"].alt and "2,759 small" in words["pages"]
    assert (README.parent / "docs" / "pages.png").read_bytes().startswith(b"\x89PNG")


def test_the_readme_does_not_give_the_answer_away():
    text = README.read_text("utf-8")
    question = text[text.index("## The question") : text.index("## The course")]
    assert not re.search(r"9[56](\.\d)? ?(%|percent)|4(\.\d)? ?(%|percent)", question)
    assert "04_page_faults_and_sparsity" in question
