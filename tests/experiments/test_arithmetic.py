"""What each arithmetic costs, and which are not defined for a file."""

from __future__ import annotations

import json

import pytest

from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert
from llama_edu.experiments.arithmetic import arithmetic


def test_fewer_bits_differ_more_from_float32():
    result = arithmetic(n_tokens=60)
    float32, int8, int4 = result.costs
    assert [c.arithmetic for c in result.costs] == ["float32", "int8", "int4"]
    assert float32.logits_error == 0 and float32.same_likeliest_fraction == 1
    assert 1e-4 < int8.logits_error < 0.03 < int4.logits_error < 0.5
    assert abs(int8.nats_per_token - float32.nats_per_token) < 0.05
    assert result.left_out == () and "stories-q4_0.gguf: a text of" in str(result)


def test_an_arithmetic_that_is_not_defined_is_left_out_in_words(run_cli, tmp_path):
    path = tmp_path / "q8.gguf"
    convert(bundled_checkpoint(), path, to="gguf", type="q8_0")
    code, out, _ = run_cli("experiment", "arithmetic", "--file", path, "--json")
    found = json.loads(out)
    assert code == 0 and [c["arithmetic"] for c in found["costs"]] == ["float32", "int8"]
    assert "int4" in found["left_out"][0] and "q8_0" in found["left_out"][0]
    assert found["costs"][1]["nats_per_token"] == pytest.approx(
        found["costs"][0]["nats_per_token"], abs=0.05
    )
