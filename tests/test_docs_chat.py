"""The examples of docs/chat.md, run one after another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llama_edu.chat.named import TEMPLATES

PAGE = Path(__file__).resolve().parents[1].joinpath("docs", "chat.md").read_text("utf-8")


def test_the_examples_run_and_say_what_the_page_says(capsys):
    pytest.importorskip("jinja2")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/chat.md", "exec"), names)
    conversation, answer, story = names["conversation"], names["answer"], names["story"]
    with names["llama"]:
        assert capsys.readouterr().out.strip() and answer.text == names["text"]
        assert 0 < answer.n_reused < answer.n_prompt and answer.reason in PAGE
        assert conversation.messages == [{"role": "system", "content": "You are a mouse."}]
        assert story.rendered == "<s>[INST] Hello </s> there [/INST]"
        assert [piece.text for piece in story.seen() if piece.is_special] == ["<s>"]
        assert story.n_typed_specials == 1
        conversation.close()
        story.close()


def test_every_template_of_ours_is_in_the_table():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(TEMPLATES)
