"""What each arithmetic costs, type by type, and which are not defined for a file."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from helpers.tiny import write_tiny

import llama_edu.experiments.arithmetic as module
from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert
from llama_edu.experiments.arithmetic import arithmetic
from llama_edu.loading import load
from llama_edu.quality.losses import token_nats
from llama_edu.slimmer.texts import texts_for


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "t.txt"
    path.write_text("The fox was very happy and went home. Tom saw a small boat on the sea. " * 9)
    return path


@pytest.fixture(scope="module")
def found(text_file):
    return arithmetic(text_file=text_file, types=("q4_0",), kernels="numpy")


def test_fewer_bits_differ_more_from_float32(found):
    f16, int8, int4 = found.costs
    assert [c.weights for c in found.costs] == ["as stored: f16", "q4_0", "q4_0"]
    assert [c.arithmetic for c in found.costs] == ["int8", "int8", "int4"]
    assert {c.auto for c in found.costs} == {"float32"}  # these are numpy's kernels
    assert f16.logits_error < 2e-3 < int8.logits_error < 0.03 < int4.logits_error < 0.5
    assert 0 < f16.kl_mean < int8.kl_mean / 20 < int4.kl_mean / 400
    assert all(c.kl_mean < c.kl_largest for c in found.costs)
    assert 1 >= int8.same_likeliest_fraction > int4.same_likeliest_fraction
    assert abs(int8.loss.nats) < 0.02 and int8.loss.n_tokens == found.n_tokens
    assert 0 < int8.loss.standard_error < int4.loss.standard_error
    assert found.left_out == () and not found.cut_short


def test_the_table_names_the_text_and_what_is_defined(found):
    table = str(found)
    assert "consolidated" not in table and table.startswith("stories: ")
    assert "t.txt: tokens 1 to" in table and "int4 is defined for q4_0 and q4_1 alone" in table
    (row,) = (line for line in table.splitlines() if "int4  " in line)
    assert row.split()[0] == "q4_0" and "±" in row


def test_the_numbers_are_those_of_their_definitions(found, text_file, tmp_path):
    path = tmp_path / "q4_0.gguf"
    convert(bundled_checkpoint(), path, to="gguf", type="q4_0")
    both, nats = [], []
    for name in ("float32", "int8"):
        with load(path, kernels="numpy", arithmetic=name) as llama:
            texts = texts_for(llama, text_file).scored
            nats.append(token_nats(llama.model, texts))
            both.append(np.concatenate([llama.logits(t[:-1]) for t in texts]).astype(np.float64))
    p, q = (np.exp(x - x.max(1)[:, None]) for x in both)
    p, q = p / p.sum(1)[:, None], q / q.sum(1)[:, None]
    kl = (p * np.log(p / q)).sum(1)
    cost = found.costs[1]
    assert cost.float32_nats == pytest.approx(nats[0].mean(), abs=1e-6)
    assert cost.loss.nats == pytest.approx((nats[1] - nats[0]).mean(), abs=1e-6)
    assert cost.kl_median == pytest.approx(np.median(kl), rel=0.01)
    assert cost.kl_mean == pytest.approx(kl.mean(), rel=0.01)
    assert cost.kl_largest == pytest.approx(kl.max(), rel=0.01)
    assert cost.same_likeliest_fraction == np.mean(both[0].argmax(1) == both[1].argmax(1))
    expected = np.abs(both[1] - both[0]).max() / np.abs(both[0]).max()
    assert cost.logits_error == pytest.approx(expected, rel=1e-3)
    assert len(cost.greedy) == min(3, len(texts))
    assert all(0 <= common <= n <= 64 for common, n in cost.greedy)


def test_greedy_tokens_in_common_end_at_the_first_that_differs():
    assert module._n_common([4, 5, 6], [4, 5, 6]) == 3
    assert module._n_common([4, 5, 6], [4, 7, 6]) == 1
    assert module._n_common([4, 5, 6], [4, 5]) == 2
    assert module._n_common([4], [5]) == 0


def test_the_type_that_a_file_has_is_not_measured_twice(text_file, tmp_path):
    path = tmp_path / "q8.gguf"
    convert(bundled_checkpoint(), path, to="gguf", type="q8_0")
    result = arithmetic(path, text_file=text_file, types=("q8_0",), kernels="numpy")
    assert [(c.weights, c.arithmetic) for c in result.costs] == [("as stored: q8_0", "int8")]


def test_a_type_that_the_model_cannot_have_is_left_out_in_words(text_file, tmp_path, rng):
    path, tokenizer = write_tiny(tmp_path, rng)
    made = tmp_path / "tiny.gguf"
    convert(path, made, to="gguf", tokenizer=tokenizer)
    result = arithmetic(made, text_file=text_file, types=("q2_k", "bf16"), kernels="numpy")
    assert [c.weights for c in result.costs] == ["as stored: f32", "bf16"]
    assert result.costs[0].kl_largest == 0 and result.costs[0].loss.nats == 0
    (sentence,) = result.left_out
    assert "numbers cannot become q2_k, whose blocks have 256" in sentence
    assert sentence in str(result)


def test_the_command_takes_a_file_and_a_text_and_prints_json(run_cli, text_file, monkeypatch):
    monkeypatch.setattr(module.arithmetic, "__kwdefaults__",
                        module.arithmetic.__kwdefaults__ | {"types": ("q5_0",)})  # fmt: skip
    code, out, _ = run_cli("experiment", "arithmetic", "--text-file", text_file, "--json")
    found = json.loads(out)
    assert code == 0 and [c["weights"] for c in found["costs"]] == ["as stored: f16", "q5_0"]
    assert math.isfinite(found["costs"][1]["loss"]["standard_error"])


def test_an_interruption_keeps_the_rows_that_are_done(text_file, monkeypatch):
    convert_as_ever = module.convert

    def interrupted(*arguments, type, **options):
        if type == "q4_1":
            raise KeyboardInterrupt
        return convert_as_ever(*arguments, type=type, **options)

    monkeypatch.setattr(module, "convert", interrupted)
    told = []
    result = arithmetic(
        text_file=text_file, types=("q8_0", "q4_1", "q4_0"), kernels="numpy",
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert result.cut_short and [c.weights for c in result.costs] == ["as stored: f16", "q8_0"]
    assert str(result).endswith("interrupted: the rows that were done")
    done = [n for n, _ in told]
    assert done == sorted(done) and done[-1] <= told[0][1]
