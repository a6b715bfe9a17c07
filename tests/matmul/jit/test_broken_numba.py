"""A numba that is there and cannot be used: auto goes on with numpy and says so once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

PROGRAM = """
import sys, warnings
import numpy as np
from llama_edu.errors import RequestError
from llama_edu.matmul import matmul, matmul_for

w = np.ones((8, 32), np.float16)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    chosen = [matmul_for("auto", [w], 2) for _ in range(2)]
print("numpy" if chosen == [matmul, matmul] else "jit")
print(len(caught), *(str(c.message) for c in caught))
print(chosen[0](np.ones((1, 32), np.float32), w, 2)[0, 0])
try:
    matmul_for("jit", [w], 2)
except RequestError as error:
    print("refused:", error)
else:
    print("not refused")
"""


def run(tmp_path: Path, program: str = PROGRAM, **environment: str) -> list[str]:
    """The program's lines, with a cache of numba's own that is empty unless it says otherwise."""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), **environment}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120,
        env=os.environ | environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def check_refused(lines: list[str], why: str) -> None:
    assert lines[0] == "numpy"
    assert lines[1].startswith("1 kernels 'jit'") and why in lines[1]
    assert lines[1].endswith("Going on with numpy.")
    assert lines[2] == "32.0"
    assert lines[3].startswith("refused: kernels 'jit'") and why in lines[3]


def test_a_numba_that_works_is_taken_without_a_word(tmp_path):
    assert run(tmp_path) == ["jit", "0", "32.0", "not refused"]


@pytest.mark.parametrize(
    "error",
    ["ImportError('Numba needs NumPy 2.1 or less')", "OSError('libllvm')", "KeyError(1)"],
)
def test_a_numba_that_cannot_be_imported(tmp_path, error):
    (tmp_path / "numba.py").write_text(f"raise {error}\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    check_refused(run(tmp_path, PYTHONPATH=path), error.partition("(")[0])


def test_a_numba_whose_compiler_cannot_be_imported(tmp_path):
    (tmp_path / "llvmlite.py").write_text("raise OSError('libLLVM-22.so: cannot open')\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    check_refused(run(tmp_path, PYTHONPATH=path), "libLLVM-22.so")


def test_a_numba_that_cannot_compile_for_this_processor(tmp_path):
    broken = """
import numba.core.dispatcher as dispatcher
def compile(*arguments):
    raise RuntimeError("LLVM ERROR: unknown target")
dispatcher._FunctionCompiler.compile = compile
"""
    check_refused(run(tmp_path, broken + PROGRAM), "unknown target")


def test_a_numba_that_is_switched_off(tmp_path):
    check_refused(run(tmp_path, NUMBA_DISABLE_JIT="1"), "NUMBA_DISABLE_JIT")


@pytest.mark.skipif(os.name != "posix", reason="a folder in use cannot be removed here")
def test_a_working_folder_that_is_gone(tmp_path):
    gone = "import os, shutil\nshutil.rmtree(os.getcwd())\n"
    folder = tmp_path / "gone"
    folder.mkdir()
    lines = run(folder, gone + PROGRAM, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert lines[0] in ("jit", "numpy") and lines[2] == "32.0"
