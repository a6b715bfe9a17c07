"""Memory that is used again: by one use at a time, in one thread, and never in a result."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from llama_edu.matmul import matmul_for, workspace
from llama_edu.matmul.threads import run_shares
from llama_edu.matmul.workspace import scratch
from llama_edu.quants.quantize import quantize


@pytest.fixture(autouse=True)
def own_buffers(monkeypatch):
    monkeypatch.setattr(workspace, "_buffers", workspace._Buffers())


def test_the_same_name_gives_the_same_memory_and_another_name_does_not():
    first, other = scratch("one", (3, 5)), scratch("two", (3, 5))
    assert first.shape == (3, 5) and first.dtype == np.float32 and first.flags.c_contiguous
    assert np.shares_memory(first, scratch("one", (2, 7)))
    assert np.shares_memory(first, scratch("one", (8,), np.int16))
    assert not np.shares_memory(first, other)


def test_a_larger_array_does_not_write_where_the_smaller_one_was():
    small = scratch("one", (4,))
    small[:] = 1
    scratch("one", (5,))[:] = 2
    assert small.tolist() == [1, 1, 1, 1]
    assert scratch("one", (0, 3)).shape == (0, 3)


def test_each_thread_has_its_own():
    both, arrays = threading.Barrier(2), []

    def work(start: int, stop: int) -> None:
        if start < 2:
            both.wait(20)
            arrays.append(scratch("one", (64,)))
            both.wait(20)

    run_shares(work, 12, 2)
    assert len(arrays) == 2 and not np.shares_memory(*arrays)


def buffers_of_all_threads() -> list[np.ndarray]:
    return list(workspace._buffers.named.values())


@pytest.mark.parametrize("n_positions", [1, 3, 20])
@pytest.mark.parametrize("type_name", ["f16", "bf16", "q4_0", "q8_0", "q4_k"])
@pytest.mark.parametrize(
    ("kernels", "arithmetic"), [("numpy", "float32"), ("jit", "float32"), ("jit", "int8")]
)
def test_results_are_never_overwritten(rng, kernels, arithmetic, type_name, n_positions):
    if kernels == "jit":
        pytest.importorskip("numba")
    numbers = rng.standard_normal((1030, 256)).astype(np.float32)
    w = numbers.astype(np.float16) if type_name == "f16" else quantize(numbers, type_name)
    multiply = matmul_for(kernels, [w], 2, arithmetic)
    inputs = rng.standard_normal((3, n_positions, 256)).astype(np.float32)
    results = [multiply(x, w, 2) for x in inputs]
    before = [result.copy() for result in results]
    for x in inputs[::-1]:
        multiply(x, w, 1)
    for result, kept in zip(results, before, strict=True):
        assert result.tobytes() == kept.tobytes()
        assert not any(np.shares_memory(result, b) for b in buffers_of_all_threads())
    assert not np.shares_memory(results[0], results[1])
