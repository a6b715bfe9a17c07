"""docs/steps.md lists the steps as the program does, and its Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import llama_edu
from llama_edu.transformer.tap import steps_table

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "steps.md").read_text("utf-8")


def test_the_list_of_steps_is_the_programs():
    assert f"```\n{steps_table()}\n```" in TEXT


def test_the_python_in_it_runs():
    with llama_edu.load(llama_edu.bundled_checkpoint()) as llama:
        names = {"llama": llama, "tokens": llama.tokenizer.encode("The fox was")}
        for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.S):
            exec(block, names)
        assert {"trace", "logits", "planted"} <= set(names)
        names.clear()
