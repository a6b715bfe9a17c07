"""Norm, gate and attention of many positions in compiled code: fast siblings of kernels.py.

Beside compiled products, numpy took a third of the time of a prompt for these. What they are not
made for, such as few positions or a tap, numpy computes. They agree with it within 1e-5.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.machine_code import call
from llama_edu.matmul.jit.panels import steps
from llama_edu.matmul.jit.panels.jobs import FOR_ONE_THREAD
from llama_edu.matmul.threads import run_shares, worth
from llama_edu.transformer import kernels
from llama_edu.transformer.attention import attend as numpy_attend
from llama_edu.transformer.tap import Tap, untouched

#: Positions for which numpy is as fast.
_FEW = 4


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """kernels.rms_norm."""
    if len(x) <= _FEW or x.shape[1] < steps.SHORTEST:
        return kernels.rms_norm(x, weight, eps)
    out = np.empty(x.shape, np.float32)
    one_row = np.ascontiguousarray(weight).reshape(1, -1)
    call("norms", steps.rms_norm, np.ascontiguousarray(x), _readable(one_row), np.float32(eps), out)
    return out


def swiglu(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """kernels.swiglu."""
    if gate.ndim != 2 or len(gate) <= _FEW or gate.size < steps.SHORTEST:
        return kernels.swiglu(gate, up)
    out = np.empty(gate.shape, np.float32)
    call("gates", steps.swiglu, *(np.ascontiguousarray(a).reshape(1, -1) for a in (gate, up, out)))
    return out


def attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, threads: int, tap: Tap = untouched
) -> np.ndarray:
    """attention.attend; threads share the heads."""
    T, n_heads, head_dim = q.shape
    n_groups = n_heads // len(k)
    whole_rows = k[0].flags.c_contiguous and v[0].flags.c_contiguous
    if tap is not untouched or T <= _FEW or head_dim % 4 or not whole_rows:
        return numpy_attend(q, k, v, threads, tap)
    mixed = np.empty((-(-T // steps.WIDE) * steps.WIDE, n_heads * head_dim), np.float32)
    queries, scale = np.ascontiguousarray(q).reshape(T, -1), np.float32(head_dim**-0.5)

    def some_heads(start: int, stop: int) -> None:
        for head in range(start, stop):
            keys, values = k[head // n_groups], v[head // n_groups]
            call("attention", steps.attend, queries, keys, values, head, scale, mixed)

    n_products = 2 * T * k.shape[1] * head_dim * n_heads
    run_shares(some_heads, n_heads, worth(threads, n_products, FOR_ONE_THREAD))
    return mixed[:T]


def _readable(array: np.ndarray) -> np.ndarray:
    """A view that is not writable: one compiled form for stored weights and for copies."""
    view = array.view()
    view.flags.writeable = False
    return view
