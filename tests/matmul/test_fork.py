"""A process that has multiplied with several threads forks, and the child goes on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, threading
import numpy as np
from llama_edu.matmul import matmul_for
from llama_edu.matmul.blas import blas_threads
from llama_edu.matmul.threads import run_shares
from llama_edu.quants.quantize import quantize

kernels, when = sys.argv[1:]
rng = np.random.default_rng(0)
w = quantize(rng.standard_normal((4096, 2048)).astype(np.float32), "q8_0")
matmul = matmul_for(kernels, [w])

def products():
    tall, short = np.ones((20, 2048), np.float32), np.ones((1, 2048), np.float32)
    return matmul(tall, w, 2).sum(), matmul(short, w, 2).sum()

if when == "after":
    expected = products()
child = None
if when == "within":
    with blas_threads(1):
        child = os.fork()
else:
    child = os.fork()
if child == 0:
    found = products()
    print("child", [round(float(x), 1) for x in found], flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
print("status", status)
print("parent", [round(float(x), 1) for x in products()])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("when", ["before", "after", "within"])
@pytest.mark.parametrize("kernels", ["numpy", "jit"])
def test_a_forked_child_multiplies_as_its_parent_does(kernels, when):
    if kernels == "jit":
        pytest.importorskip("numba")
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM, kernels, when],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    child, status, parent = done.stdout.splitlines()
    assert status == "status 0"
    assert child.removeprefix("child") == parent.removeprefix("parent")
