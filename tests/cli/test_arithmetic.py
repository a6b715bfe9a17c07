"""--arithmetic, and inspect --machine, which says what "int8" is on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert


def test_inspect_machine_needs_no_file_and_says_what_int8_is_here(run_cli, monkeypatch):
    code, out, _ = run_cli("inspect", "--machine")
    assert code == 0 and "cores for this process" in out and "numpy" in out
    code, _, said = run_cli("inspect", "--machine", "m.bin")
    assert code == 2 and "--machine takes no FILE" in said
    code, _, said = run_cli("inspect")
    assert code == 2 and "no FILE given, expected a weight file, or --machine" in said
    monkeypatch.setattr("llama_edu.show.text.machine.find_spec", lambda name: None)
    out = run_cli("inspect", "--machine")[1]
    assert "numba is not installed; run: pip install numba" in out
    assert "numpy rounds activations and multiplies in float32" in out


def test_inspect_machine_names_the_instructions_or_that_there_are_none(run_cli, monkeypatch):
    pytest.importorskip("numba")
    from llama_edu.matmul.jit.int8 import instructions

    for has, expected in (
        ("arm_dot", "arm_dot: jit multiplies integers for q4_0 q4_1"),
        (None, "none of avx512_vnni, avx_vnni, arm_dot on this processor: jit rounds"),
    ):
        monkeypatch.setattr(instructions, "host_instructions", lambda has=has: has)
        assert expected in run_cli("inspect", "--machine")[1]


def test_arithmetic_is_what_the_commands_compute_with(run_cli, in_folder):
    convert(bundled_checkpoint(), in_folder / "q.gguf", to="gguf", type="q4_0")
    Path("text.txt").write_text("The fox was very happy and went home. " * 3)
    score = ["perplexity", "q.gguf", "--text-file", "text.txt", "--kernels", "numpy"]
    printed = {run_cli(*score, "--arithmetic", kind)[1] for kind in ("float32", "int8", "int4")}
    assert len(printed) == 3 and run_cli(*score)[1] in printed
    prompt = ["generate", "q.gguf", "--prompt", "One day", "--n-tokens", "3", "--logprobs", "1",
              "--temperature", "0", "--kernels", "numpy"]  # fmt: skip
    assert run_cli(*prompt, "--arithmetic", "int4")[1] != run_cli(*prompt)[1]
