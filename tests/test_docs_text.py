"""The examples of docs/text.md, run one after another."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1].joinpath("docs", "text.md").read_text("utf-8")


def test_the_examples_run_and_say_what_the_page_says(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/text.md", "exec"), names)
    tokenizer, ids = names["tokenizer"], names["ids"]
    with names["llama"]:
        assert tokenizer.decode(ids) == "The fox" and len(tokenizer) == tokenizer.vocab_size
        assert (tokenizer.piece(ids[1]), tokenizer.name(ids[0])) == (b" The", "<s>")
        assert tokenizer.encode("<s>", special=True) == [1, 1]
        assert tokenizer.encode("<s>").count(1) == 1
        text = names["text"]
        assert (
            text.reason in ("eos", "length") and text.text and text.text in capsys.readouterr().out
        )
