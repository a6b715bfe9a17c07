"""What number types cost: sizes of files, and losses of one text under each."""

from __future__ import annotations

import math

import pytest

import llama_edu
from llama_edu.convert import convert
from llama_edu.errors import RequestError
from llama_edu.slimmer.size_and_loss import size_and_loss


@pytest.fixture(scope="module")
def found():
    try:
        source = llama_edu.bundled_checkpoint()
    except llama_edu.LlamaEduError:
        pytest.skip("the bundled checkpoint is not there")
    return size_and_loss(source, ["f32", "f16", "q2_k"])


def test_the_sizes_are_those_of_the_files(found, in_folder):
    for row in found.rows[1:]:
        convert(llama_edu.bundled_checkpoint(), "x.gguf", to="gguf", type=row.type)
        assert row.n_bytes == (in_folder / "x.gguf").stat().st_size


def test_a_type_that_holds_the_same_numbers_costs_nothing_and_few_bits_cost_much(found):
    f32, f16, q2_k = found.rows
    assert f32.more is None and f16.more.nats == 0 and f16.nats == f32.nats
    assert q2_k.more.nats > 3 * q2_k.more.standard_error > 0
    assert q2_k.nats == pytest.approx(f32.nats + q2_k.more.nats)
    assert found.rows[0].perplexity == pytest.approx(math.exp(f32.nats))
    assert found.n_tokens == f16.more.n_tokens == 1873


def test_the_table_says_what_was_scored_and_what_is_compared(found):
    text = str(found)
    assert "1,873 tokens: 6 stories" in text and "held out" in text and "more than f32" in text
    assert "-0.000" not in text


def test_a_text_of_ones_own_is_scored(in_folder):
    (in_folder / "own.txt").write_text("Once upon a time, there was a little boy. " * 4)
    try:
        source = llama_edu.bundled_checkpoint()
    except llama_edu.LlamaEduError:
        pytest.skip("the bundled checkpoint is not there")
    own = size_and_loss(source, ["f16"], "own.txt")
    assert own.text.startswith("own.txt: tokens 1 to") and 10 < own.n_tokens < 100


def test_no_type_is_refused():
    with pytest.raises(RequestError, match="no type is given"):
        size_and_loss("stories", [])
