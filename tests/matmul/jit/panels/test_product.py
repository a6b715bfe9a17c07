"""Many positions in compiled tiles against numpy, and against sums in float64."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.random_blocks import random_blocks

from llama_edu.errors import ShapeError
from llama_edu.matmul import matmul
from llama_edu.matmul.arithmetic import rounded_matmul
from llama_edu.matmul.product import products
from llama_edu.quants.blocks import dequantize

pytest.importorskip("numba")

from llama_edu.matmul.jit import product as jit
from llama_edu.matmul.jit.int8 import product as int8
from llama_edu.matmul.jit.panels import host, jobs, positions
from llama_edu.matmul.jit.panels import product as panels
from llama_edu.quants.quantize import quantize

TWIN = rounded_matmul(matmul, "int8")
ROUNDED = int8.int8_matmul(rounded_matmul(jit.matmul, "int8"))
FLOATS = ("f32", "f16", "bf16")
WITH_TILES = pytest.mark.skipif(not host.host()[0], reason="no fused multiplications here")


def weights(type_name: str, rows: int, columns: int) -> np.ndarray:
    if type_name == "f32":
        return np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
    return random_blocks(type_name, rows, columns)


def numbers(T: int, columns: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((T, columns)).astype(np.float32)


def check_equal(found: np.ndarray, x: np.ndarray, w: np.ndarray) -> None:
    dense = dequantize(w).astype(np.float64)
    expected = x.astype(np.float64) @ dense.T
    sizes = np.abs(x).astype(np.float64) @ np.abs(dense).T
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert (np.abs(found - expected) <= 1e-6 * sizes).all()


@pytest.mark.parametrize("T", [5, 16, 17, 33, 50, 128])
@pytest.mark.parametrize("type_name", ["f32", *jit.TYPES])
def test_a_product_equals_the_sum_of_products(type_name, T):
    for rows, columns in ((16, 256), (53, 768), (131, 1280)):
        w, x = weights(type_name, rows, columns), numbers(T, columns)
        for threads in (1, 3):
            check_equal(jit.matmul(x, w, threads), x, w)


@pytest.mark.parametrize("type_name", FLOATS)
def test_rows_may_have_any_number_of_columns(type_name):
    for columns in (1, 2, 15, 16, 47, 98, 1001):
        w, x = weights(type_name, 19, columns), numbers(37, columns)
        check_equal(jit.matmul(x, w), x, w)
        rounded = ROUNDED(x, w)
        expected = TWIN(x, w, 1)
        norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(dequantize(w), axis=1)
        assert (np.abs(rounded - expected) <= 1e-6 * norms).all()


@pytest.mark.parametrize("T", [5, 17, 50, 128])
@pytest.mark.parametrize("type_name", ["f16", "bf16"])
def test_x_is_rounded_to_the_type_of_the_weights_as_its_twin_rounds_it(type_name, T):
    for rows, columns in ((16, 256), (53, 770), (131, 1280)):
        w, x = weights(type_name, rows, columns), numbers(T, columns)
        expected, exact = TWIN(x, w, 1), matmul(x, w)
        norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(dequantize(w), axis=1)
        for threads in (1, 2):
            found = ROUNDED(x, w, threads)
            assert (np.abs(found - expected) <= 1e-6 * norms).all()
        assert np.linalg.norm(found - exact) > 1e-5 * np.linalg.norm(exact)


def test_bfloat16_is_rounded_to_the_bit():
    x = numbers(3, 1000)
    x[0, :8] = np.inf, -np.inf, np.nan, 0, -0.0, 1e-40, -3e38, 1 + 2**-8
    x[1, :3] = 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 2.0**-126
    x.view(np.uint32)[2, 0] = 0x7F800001  # a NaN whose upper half is infinity
    out = np.empty(x.shape, np.uint16)
    positions.to_bf16(x.view(np.uint32), out)
    assert np.array_equal(out, quantize(x, "bf16")["bf16"])


def test_float16_is_rounded_to_the_bit():
    x = numbers(3, 1000) * np.float32(1e4)
    x[0, :6] = np.inf, np.nan, 1e-7, -0.0, 1 + 2**-11, 1 + 3 * 2**-11
    out = np.empty_like(x)
    positions.to_f16(x, out)
    assert np.array_equal(out, x.astype(np.float16).astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("type_name", ["f32", *jit.TYPES])
def test_what_is_no_number_shows_in_its_row_and_its_position(type_name, value):
    w = weights(type_name, 36, 512)
    field = next((f for f in ("scale", "bf16") if f in (w.dtype.names or ())), None)
    if field == "bf16":
        w["bf16"][21, 100] = np.float32(value).view(np.uint32) >> 16
    elif field:
        w[field][21, w.shape[1] // 2] = value
    else:
        w[21, 100] = value
    x = numbers(39, 512)
    x[17, 300] = value
    with np.errstate(invalid="ignore", over="ignore"):
        for found, expected in (
            (jit.matmul(x, w), matmul(x, w)), (ROUNDED(x, w), TWIN(x, w, 1)),
        ):  # fmt: skip
            assert not np.isfinite(expected[:, 21]).any() and not np.isfinite(expected[17]).any()
            assert np.array_equal(np.isfinite(found), np.isfinite(expected))
            rest = np.isfinite(expected)
            np.testing.assert_allclose(found[rest], expected[rest], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("type_name", ["f32", "f16", "bf16", "q4_0", "q6_k"])
def test_a_part_of_a_matrix_gives_a_part_of_the_result(type_name):
    w, x = weights(type_name, 70, 512), numbers(21, 512)
    for multiply in (jit.matmul, ROUNDED):
        assert np.array_equal(multiply(x, w[13:50]), multiply(x, w)[:, 13:50])


def test_several_matrices_with_one_x_give_what_each_gives():
    types = ("q4_0", "q6_k", "f32", "f16", "bf16", "q4_k", "q2_k", "q4_0")
    matrices = [weights(name, 17 + 8 * i, 768) for i, name in enumerate(types)]
    matrices += [weights("q8_0", 3, 768), np.asfortranarray(weights("f32", 20, 768))]
    for T in (2, 40):
        x = numbers(T, 768)
        for multiply in (jit.matmul, ROUNDED):
            for threads in (1, 3):
                found = products(multiply, x, matrices, threads)
                assert [y.shape for y in found] == [(T, len(w)) for w in matrices]
                for y, w in zip(found, matrices, strict=True):
                    np.testing.assert_allclose(y, multiply(x, w), rtol=1e-5, atol=1e-4)


@WITH_TILES
def test_x_is_laid_side_by_side_once_for_all_matrices(monkeypatch):
    calls = []
    original = positions.panels

    def counted(*arguments):
        calls.append(arguments[0])
        return original(*arguments)

    monkeypatch.setattr(positions, "panels", counted)
    x = numbers(9, 512)
    products(jit.matmul, x, [weights(name, 20, 512) for name in ("f32", "q4_0", "f16")], 2)
    assert calls == [9]
    products(ROUNDED, x, [weights(name, 20, 512) for name in ("f16", "f16")], 2)
    assert calls == [9, 9]


def test_threads_take_tiles_of_all_jobs(monkeypatch):
    monkeypatch.setattr(jobs, "FOR_ONE_THREAD", 1)
    done = [np.zeros(n, int) for n in (5, 1, 13)]

    def job(counts: np.ndarray) -> jobs.Job:
        def run(first: int, stop: int) -> None:
            assert first < stop
            counts[first:stop] += 1

        return jobs.Job(len(counts), 10, run)

    for threads in (1, 2, 7, 40):
        jobs.run([job(counts) for counts in done], threads)
    assert all((counts == 4).all() for counts in done)
    jobs.run([], 2)


def test_without_fused_multiplications_blas_multiplies(monkeypatch):
    monkeypatch.setattr(host, "host", lambda: (0, False))
    monkeypatch.setattr(panels, "side_by_side", None)
    for name in ("f32", "f16", "bf16", "q5_k"):
        w, x = weights(name, 40, 512), numbers(20, 512)
        check_equal(jit.matmul(x, w, 2), x, w)
        norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(dequantize(w), axis=1)
        assert (np.abs(ROUNDED(x, w, 2) - TWIN(x, w, 1)) <= 1e-6 * norms).all()


def test_what_the_tiles_cannot_read_goes_the_clear_way():
    x = np.ones((9, 30), np.float32)
    unaligned = np.zeros(4 * 30 * 20 + 1, np.uint8)[1:].view(np.float32).reshape(20, 30)
    unaligned[...] = 0.5
    swapped = np.full((20, 30), 0.5, ">f4")
    strided = np.full((20, 60), 0.5, np.float32)[:, ::2]
    for w in (unaligned, swapped, strided, np.full((15, 30), 0.5, np.float16)):
        assert np.array_equal(jit.matmul(x, w), np.full((9, len(w)), 15, np.float32))


def test_x_need_not_be_contiguous_and_stays_as_it_is():
    w = weights("bf16", 19, 64)
    x = numbers(12, 128)[:, ::2]
    before = x.copy()
    for multiply in (jit.matmul, ROUNDED):
        assert np.array_equal(multiply(x, w), multiply(before, w))
    assert np.array_equal(x, before)


def test_a_wrong_width_is_named():
    for multiply in (jit.matmul, ROUNDED):
        for name in FLOATS:
            with pytest.raises(ShapeError, match="x has 31 features, expected 32"):
                multiply(np.ones((9, 31), np.float32), weights(name, 20, 32))


@pytest.mark.parametrize(
    ("wide", "pairs", "triple", "features"),
    [
        (32, True, "x86_64-unknown-linux-gnu", "+avx512f,+avx512vl,+fma,+avx512bf16"),
        (32, False, "x86_64-unknown-linux-gnu", "+avx512f,+avx512vl,+fma,-avx512bf16"),
        (16, False, "x86_64-unknown-linux-gnu", "+avx,+avx2,+fma,-avx512f,-avx512vl"),
        (0, False, "x86_64-unknown-linux-gnu", "+avx,-fma"),
        (16, False, "aarch64-unknown-linux-gnu", "+neon,+bf16"),
        (16, False, "arm64-apple-darwin24.0.0", ""),
        (0, False, "powerpc64le-unknown-linux-gnu", "+vsx"),
    ],
)
def test_a_processor_is_asked_in_the_terms_of_llvm(wide, pairs, triple, features):
    assert host.wide_panel(triple, features) == wide
    assert host.multiplies_bf16(triple, features) == pairs


#: Runs the tiles and the other steps for a processor with shorter vectors.
PROGRAM = """
import sys
import numpy as np

sys.path.insert(0, sys.argv[1])
from helpers.random_blocks import random_blocks
from llama_edu.matmul import matmul
from llama_edu.matmul.arithmetic import rounded_matmul
from llama_edu.matmul.jit import product
from llama_edu.matmul.jit.int8 import product as int8
from llama_edu.matmul.jit.panels import host, lanes
from llama_edu.transformer import kernels
from llama_edu.transformer.jit import prompts

rounded = int8.int8_matmul(rounded_matmul(product.matmul, "int8"))
twin = rounded_matmul(matmul, "int8")
rng = np.random.default_rng(0)
x = rng.standard_normal((37, 512)).astype(np.float32)
for name in ("f16", "bf16"):
    w = random_blocks(name, 21, 512)
    for multiply, slow in ((product.matmul, matmul), (rounded, twin)):
        expected = slow(x, w, 1)
        assert np.abs(multiply(x, w) - expected).max() < 1e-6 * np.linalg.norm(expected)
q = rng.standard_normal((37, 6, 12)).astype(np.float32)
k, v = rng.standard_normal((2, 2, 50, 12)).astype(np.float32)
assert np.abs(prompts.attend(q, k, v, 1) - kernels.attention(q, k, v)).max() < 1e-5
assert np.abs(prompts.swiglu(x, x) - kernels.swiglu(x, x)).max() < 1e-5
print(lanes.WIDE, host.host())
"""


def test_the_tiles_are_right_with_shorter_vectors(tmp_path):
    if host.host()[0] <= host.NARROW:
        pytest.skip("the vectors of this processor are no longer")
    features = "+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+sse4.2,+ssse3,+popcnt"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, Path(__file__).parents[3]],
        capture_output=True, text=True, timeout=300,
        env=os.environ | {
            "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": features,
        },
    )  # fmt: skip
    assert done.stdout == "16 (16, False)\n", done.stderr
