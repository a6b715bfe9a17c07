"""Each kernel against its slow twin, and the properties that make it what it is."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import reference

from llama_edu.transformer import kernels

HUGE = np.array([-3e38, -1e4, -88.0, -87.0, -1.0, 0.0, 1.0, 88.0, 1e4, 3e38], np.float32)


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def test_rms_norm_equals_its_slow_twin(rng):
    x, weight = normal(rng, 5, 24), normal(rng, 24)
    expected = [reference.rms_norm(row, weight.tolist(), 1e-5) for row in x.tolist()]
    np.testing.assert_allclose(kernels.rms_norm(x, weight, 1e-5), expected, rtol=1e-5, atol=1e-6)


def test_rms_norm_of_zeros_is_zeros_and_not_nan():
    assert not kernels.rms_norm(np.zeros((2, 8), np.float32), np.ones(8, np.float32), 1e-6).any()


def test_rms_norm_adds_eps_inside_the_root():
    """With values as small as eps the place of eps decides the result."""
    x = np.full((1, 4), 1e-3, np.float32)
    expected = 1e-3 / np.sqrt(1e-6 + 1e-6)
    np.testing.assert_allclose(
        kernels.rms_norm(x, np.ones(4, np.float32), 1e-6), np.full((1, 4), expected), rtol=1e-5
    )


def test_softmax_equals_its_slow_twin_and_works_in_place(rng):
    x = normal(rng, 3, 7) * 10
    expected = [reference.softmax(row) for row in x.tolist()]
    result = kernels.softmax(x)
    assert result is x
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-7)


def test_softmax_gives_impossible_scores_exactly_zero_and_survives_large_ones():
    x = np.array([[3e38, -np.inf, -3e38]], np.float32)
    with np.errstate(over="ignore"):  # 3e38 - -3e38 is beyond float32, and right all the same
        np.testing.assert_array_equal(kernels.softmax(x), [[1, 0, 0]])


def test_silu_equals_its_slow_twin_without_a_warning():
    expected = [reference.silu(x) for x in HUGE.tolist()]
    np.testing.assert_allclose(kernels.silu(HUGE), expected, rtol=1e-6, atol=1e-30)


def test_swiglu_gates_the_second_by_the_first(rng):
    gate, up = normal(rng, 3, 40), normal(rng, 3, 40)
    expected = [
        [reference.silu(g) * u for g, u in zip(a, b, strict=True)]
        for a, b in zip(gate.tolist(), up.tolist(), strict=True)
    ]
    before = gate.copy()
    np.testing.assert_allclose(kernels.swiglu(gate, up), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(gate, before)


@pytest.mark.parametrize("pairing", ["interleaved", "halves"])
def test_rope_equals_its_slow_twin(rng, pairing):
    T, n_heads, head_dim, first = 3, 5, 8, 40
    x = normal(rng, T, n_heads, head_dim)
    frequencies = 10000.0 ** (-np.arange(0, head_dim, 2) / head_dim)
    rotations = kernels.rope_rotations(np.arange(first, first + T), frequencies)
    rope = kernels.rope_halves if pairing == "halves" else kernels.rope_interleaved
    expected = [
        [reference.rope(head, first + t, 10000.0, pairing) for head in x[t].tolist()]
        for t in range(T)
    ]
    np.testing.assert_allclose(rope(x, rotations), expected, rtol=1e-5, atol=2e-6)


def test_rope_keeps_full_precision_at_far_positions():
    """The angle of position 100,003 is taken in float64; in float32 it would be off by 1e-2."""
    rotations = kernels.rope_rotations(np.array([100_003]), np.array([0.9999]))
    expected = np.cos(100_003 * 0.9999), np.sin(100_003 * 0.9999)
    np.testing.assert_allclose((rotations[0, 0].real, rotations[0, 0].imag), expected, atol=1e-6)


def test_rope_leaves_position_zero_as_it_is(rng):
    x = normal(rng, 1, 2, 8)
    rotations = kernels.rope_rotations(np.array([0]), np.ones(4))
    np.testing.assert_array_equal(kernels.rope_interleaved(x, rotations), x)
    np.testing.assert_array_equal(kernels.rope_halves(x, rotations), x)


def test_the_two_pairings_are_one_rotation_of_permuted_heads(rng):
    x = normal(rng, 4, 3, 8)
    rotations = kernels.rope_rotations(np.arange(4), np.array([1.0, 0.3, 0.1, 0.01]))
    order = [0, 2, 4, 6, 1, 3, 5, 7]  # interleaved -> halves
    np.testing.assert_allclose(
        kernels.rope_halves(np.ascontiguousarray(x[..., order]), rotations),
        kernels.rope_interleaved(x, rotations)[..., order],
        rtol=1e-6, atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize(("T", "S"), [(1, 1), (1, 9), (4, 4), (3, 11)])
def test_attention_equals_its_slow_twin_with_grouped_heads(rng, T, S):
    n_heads, n_kv_heads, head_dim = 6, 2, 4
    q, k, v = (
        normal(rng, n, h, head_dim) for n, h in ((T, n_heads), (S, n_kv_heads), (S, n_kv_heads))
    )
    expected = reference.attention(q.tolist(), k.tolist(), v.tolist(), S - T)
    result = kernels.attention(q, k.transpose(1, 0, 2), v.transpose(1, 0, 2))
    assert result.shape == (T, n_heads * head_dim)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)


def test_attention_cannot_see_the_future(rng):
    """Replacing every later key and value changes nothing, to the last bit."""
    q, k, v = normal(rng, 5, 6, 4), normal(rng, 2, 8, 4), normal(rng, 2, 8, 4)
    before = kernels.attention(q, k, v)
    k[:, 6:], v[:, 6:] = 1e6, -1e6  # positions 6 and 7; the queries stand at 3 to 7
    after = kernels.attention(q, k, v)
    np.testing.assert_array_equal(after[:3], before[:3])
    assert not np.array_equal(after[3:], before[3:])


def test_attention_does_not_change_its_inputs(rng):
    q, k, v = normal(rng, 3, 6, 4), normal(rng, 2, 5, 4), normal(rng, 2, 5, 4)
    copies = q.copy(), k.copy(), v.copy()
    kernels.attention(q, k, v)
    for array, copy in zip((q, k, v), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_every_kernel_gives_float32_for_float32(rng):
    x = normal(rng, 3, 8)
    heads = normal(rng, 3, 2, 8)
    rotations = kernels.rope_rotations(np.arange(3), np.ones(4))
    assert rotations.dtype == np.complex64
    for result in (
        kernels.rms_norm(x, x[0], 1e-5),
        kernels.softmax(x.copy()),
        kernels.silu(x),
        kernels.swiglu(x, x),
        kernels.rope_interleaved(heads, rotations),
        kernels.rope_halves(heads, rotations),
        kernels.attention(heads, heads.transpose(1, 0, 2), heads.transpose(1, 0, 2)),
    ):
        assert result.dtype == np.float32
