"""The small steps of a token against transformer/kernels.py."""

from __future__ import annotations

import numpy as np
import pytest

from llama_edu.transformer import kernels

pytest.importorskip("numba")

from llama_edu.matmul.jit.token import steps


@pytest.mark.parametrize("n", [1, 7, 64, 1000])
def test_gates(n):
    rng = np.random.default_rng(n)
    gate, up = (rng.standard_normal(n).astype(np.float32) * 30 for _ in range(2))
    gate[0] = -1000
    for relu, expected in ((0, kernels.swiglu(gate, up)), (1, kernels.reglu(gate, up))):
        out = np.empty(n, np.float32)
        steps.gated(gate, up, relu, out)
        np.testing.assert_allclose(out, expected, rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gates_that_are_no_numbers(value):
    gate = np.array([1, value, 2], np.float32)
    for relu, expected in ((0, kernels.swiglu), (1, kernels.reglu)):
        out = np.empty(3, np.float32)
        steps.gated(gate, np.ones(3, np.float32), relu, out)
        np.testing.assert_allclose(out, expected(gate, np.ones(3, np.float32)), rtol=2e-6)


@pytest.mark.parametrize("n", [2, 33, 768])
def test_norm(n):
    x, weight = np.random.default_rng(n).standard_normal((2, n)).astype(np.float32)
    out = np.empty(n, np.float32)
    steps.rms_norm(x, weight, np.float32(1e-5), out)
    np.testing.assert_allclose(out, kernels.rms_norm(x[None], weight, 1e-5)[0], rtol=3e-6)


@pytest.mark.parametrize("size", [2, 6, 64])
@pytest.mark.parametrize("halves", [False, True])
def test_rotations(size, halves):
    rng = np.random.default_rng(size)
    x = rng.standard_normal((1, 1, size)).astype(np.float32)
    rotations = kernels.rope_rotations(np.array([11]), rng.random(size // 2))
    turn = kernels.rope_halves if halves else kernels.rope_interleaved
    expected = turn(x, rotations)[0, 0]
    for out in (np.empty(size, np.float32), x[0, 0]):
        steps.turned(x[0, 0], rotations[0].view(np.float32), halves, out)
        np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [2, 34, 64])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 130])
def test_attention_of_one_head(n, size):
    rng = np.random.default_rng(n * size)
    q = rng.standard_normal(size).astype(np.float32) * 4
    keys, values = rng.standard_normal((2, n, size)).astype(np.float32)
    out, scores = np.empty(size, np.float32), np.empty(n, np.float32)
    steps.attend(q, keys, values, scores, out)
    expected = kernels.attention(q[None, None], keys[None], values[None])[0]
    np.testing.assert_allclose(out, expected, rtol=0, atol=3e-6)
    assert scores.min() > 0
