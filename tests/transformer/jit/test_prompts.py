"""The compiled steps of many positions against those of kernels.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import llama_edu
from llama_edu.convert import convert
from llama_edu.matmul import matmul
from llama_edu.transformer import kernels
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.functions import NUMPY, functions_for
from llama_edu.transformer.model import forward

pytest.importorskip("numba")

from llama_edu.matmul.jit import product as jit
from llama_edu.matmul.jit.panels import host, steps

COMPILED = functions_for(jit.matmul)
pytestmark = pytest.mark.skipif(COMPILED is NUMPY, reason="no fused multiplications here")


def numbers(*shape: int, seed: int = 0, size: float = 1) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(shape) * size
    return x.astype(np.float32)


def never(*arguments):
    raise AssertionError("numpy was asked")


@pytest.mark.parametrize(
    ("T", "S", "n_heads", "n_kv_heads", "head_dim"),
    [
        (5, 5, 4, 2, 8), (31, 31, 6, 3, 12), (32, 47, 6, 2, 20), (33, 33, 2, 1, 64),
        (70, 203, 9, 3, 16), (6, 500, 3, 1, 4), (128, 129, 2, 2, 128),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 4])
def test_attention_equals_that_of_numpy(T, S, n_heads, n_kv_heads, head_dim, size, monkeypatch):
    """With large numbers most weights are 0, and those that the softmax must not mix up show."""
    q = numbers(T, n_heads, head_dim, size=size)
    k, v = (numbers(n_kv_heads, 600, head_dim, seed=i, size=size)[:, :S] for i in (1, 2))
    expected = kernels.attention(q, k, v)
    monkeypatch.setattr(kernels, "attention", never)
    for threads in (1, 3):
        found = COMPILED.attend(q, k, v, threads)
        assert found.dtype == np.float32 and found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * size**2)


def test_a_future_position_is_not_seen():
    q, k, v = numbers(40, 2, 8), numbers(1, 45, 8, seed=1), numbers(1, 45, 8, seed=2)
    before = COMPILED.attend(q, k, v, 1)
    k[:, 30:], v[:, 30:] = 100, 1000
    after = COMPILED.attend(q, k, v, 1)
    assert np.array_equal(after[:25], before[:25])
    assert not np.allclose(after[25], before[25])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_reaches_whoever_sees_it(value):
    q, k, v = numbers(40, 2, 8), numbers(1, 45, 8, seed=1), numbers(1, 45, 8, seed=2)
    k[0, 30, 3] = value
    q[:, :, 3] = 1
    with np.errstate(invalid="ignore"):
        expected = kernels.attention(q, k, v)
    found = COMPILED.attend(q, k, v, 1)
    assert np.isnan(expected[25:]).all() and np.isnan(found[25:]).all()
    assert np.isfinite(found[:25]).all()  # in numpy, NaN reaches the others as well


def test_a_gate_equals_that_of_numpy(monkeypatch):
    gate, up = numbers(7, 37, size=30), numbers(7, 37, seed=1)
    gate[0, :6] = 0, -0.0, 88, -88, 1e4, -1e4
    expected = kernels.swiglu(gate, up)
    gate[1, :3] = np.nan, np.inf, -np.inf
    assert np.isnan(COMPILED.gated["silu"](gate, up)[1, 0])
    gate[1, :3] = expected[1, :3] = 1
    up[1, :3] = 0
    expected[1, :3] = 0
    swiglu = kernels.swiglu
    monkeypatch.setattr(kernels, "swiglu", never)
    np.testing.assert_allclose(COMPILED.gated["silu"](gate, up), expected, rtol=1e-6, atol=1e-35)
    monkeypatch.setattr(kernels, "swiglu", swiglu)
    for T, n in ((5, 3), (1, 40), (5, 4)):  # the first is too short, the second one position
        gate, up = numbers(T, n, size=9), numbers(T, n, seed=1)
        found = COMPILED.gated["silu"](gate, up)
        np.testing.assert_allclose(found, swiglu(gate, up), rtol=1e-6)
    assert COMPILED.gated["relu"] is kernels.reglu


def test_a_norm_equals_that_of_numpy(monkeypatch):
    for T, n in ((5, 16), (7, 37), (40, 288)):
        x, weight = numbers(T, n, size=5), numbers(n, seed=1)
        x[0] = 0
        expected = kernels.rms_norm(x, weight, 1e-5)
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "rms_norm", never)
            found = COMPILED.rms_norm(x, weight, 1e-5)
        np.testing.assert_allclose(found, expected, rtol=2e-6)
    short = numbers(9, steps.SHORTEST - 1)
    expected = kernels.rms_norm(short, short[0], 1e-5)
    assert np.array_equal(COMPILED.rms_norm(short, short[0], 1e-5), expected)


def test_a_tap_and_other_layouts_are_computed_by_numpy():
    q, k, v = numbers(9, 4, 6), numbers(2, 9, 6, seed=1), numbers(2, 9, 6, seed=2)
    assert np.array_equal(COMPILED.attend(q, k, v, 1), kernels.attention(q, k, v))  # 6 is not 4 n
    q, k, v = numbers(9, 4, 8), numbers(2, 9, 8, seed=1), numbers(2, 9, 8, seed=2)
    k = np.asfortranarray(k)
    assert np.array_equal(COMPILED.attend(q, k, v, 1), kernels.attention(q, k, v))
    seen = []

    def tap(name, x):
        seen.append(name)
        return x

    COMPILED.attend(q, np.ascontiguousarray(k), v, 1, tap)
    assert seen == ["scores", "weights"]


def test_other_products_and_processors_keep_numpy(monkeypatch):
    assert functions_for(matmul) is NUMPY
    monkeypatch.setattr(host, "host", lambda: (0, False))
    assert functions_for(jit.matmul) is NUMPY


@pytest.mark.parametrize(("type_name", "arithmetic"), [("keep", "float32"), ("f16", "float32")])
def test_a_prompt_has_the_logits_of_numpy(tmp_path, type_name, arithmetic):
    path = tmp_path / "stories.gguf"
    convert(llama_edu.bundled_checkpoint(), path, to="gguf", type=type_name)
    logits = {}
    for name in ("numpy", "jit"):
        with llama_edu.load(path, kernels=name, arithmetic=arithmetic) as llama:
            tokens = [llama.tokenizer.bos_id, *range(20, 110, 2)]
            logits[name] = llama.logits(tokens)
            if name == "jit":
                assert llama.model.functions is not NUMPY
                model = replace(llama.model, functions=NUMPY)
                logits["mixed"] = forward(model, tokens, KVCache(llama.config, len(tokens)))
            del llama
    scale = np.abs(logits["numpy"]).max()
    for name in ("jit", "mixed"):
        assert np.abs(logits[name] - logits["numpy"]).max() <= 1e-5 * scale
