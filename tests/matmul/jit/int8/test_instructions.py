"""Which instructions are chosen, and that LLVM makes them of what is asked for.

A processor of each kind is not at hand: for those, the machine code that LLVM would make is read,
and the loops run with an instruction that does the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")
import llvmlite.binding as llvm
from llvmlite import ir

from llama_edu.matmul.jit.int8 import instructions

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"


@pytest.mark.parametrize(
    ("expected", "triple", "name", "features"),
    [
        ("avx512_vnni", X86, "znver4", "+avx512bw,+avx512vl,+avx512vnni,-avxvnni,+f16c,+fma"),
        ("avx512_vnni", X86, "sapphirerapids", "+avx512bw,+avx512vl,+avx512vnni,+avxvnni"),
        ("avx_vnni", X86, "alderlake", "+avx2,-avx512vnni,+avxvnni,+f16c,+fma"),
        (None, X86, "skylake-avx512", "+avx512bw,+avx512vl,-avx512vnni,-avxvnni,+f16c,+fma"),
        (None, X86, "generic", ""),
        ("arm_dot", ARM, "neoverse-n1", "+neon,+dotprod"),
        ("arm_dot", "arm64-apple-darwin24.0.0", "apple-m1", ""),
        (None, ARM, "cortex-a72", "+neon"),
        (None, "powerpc64le-unknown-linux-gnu", "pwr9", "+vsx"),
    ],
)
def test_a_processor_is_asked_in_the_terms_of_llvm(expected, triple, name, features):
    assert instructions.among(triple, name, features) == expected


def machine_code(triple: str, features: str, build, operands: list[tuple[int, int]]) -> str:
    """The assembly of one function of vectors, given as (bits of an element, number)."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    vectors = [ir.VectorType(ir.IntType(bits), n) for bits, n in operands]
    module = ir.Module()
    module.triple = triple
    # through pointers: vectors longer than a register are no arguments
    kind = ir.FunctionType(ir.VoidType(), [v.as_pointer() for v in (vectors[0], *vectors)])
    function = ir.Function(module, kind, "f")
    builder = ir.IRBuilder(function.append_basic_block())
    values = [builder.load(pointer) for pointer in function.args[1:]]
    builder.store(build(builder, *values), function.args[0])
    builder.ret_void()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    target = llvm.Target.from_triple(triple)
    return target.create_target_machine(features=features, opt=3).emit_assembly(parsed)


@pytest.mark.parametrize(
    ("kind", "triple", "features", "mnemonic"),
    [
        ("avx512_vnni", X86, "+avx512vnni,+avx512vl,+avx512bw", "vpdpbusd"),
        ("avx_vnni", X86, "+avxvnni,+avx2", "vpdpbusd"),
        ("arm_dot", ARM, "+neon,+dotprod", "sdot"),
    ],
)
@pytest.mark.parametrize("lanes", [8, 16])
def test_llvm_makes_the_instruction(monkeypatch, kind, triple, features, mnemonic, lanes):
    monkeypatch.setattr(instructions, "forced", kind)
    vectors = [(32, lanes), (8, 4 * lanes), (8, 4 * lanes)]
    parts = {"avx512_vnni": 1, "avx_vnni": lanes // 8, "arm_dot": lanes // 4}[kind]
    for build in (instructions.dot, instructions.signed_dot):
        code = machine_code(triple, features, build, vectors)
        assert code.count(mnemonic) == parts
        # the short encoding, which processors without AVX-512 have
        assert code.count("{vex}") == (parts if kind == "avx_vnni" else 0)
        assert ("zmm" in code) == (kind == "avx512_vnni" and lanes == 16)
    table = machine_code(triple, features, instructions.looked_up, [(8, 16), (8, 16)])
    assert ("tbl" if kind == "arm_dot" else "vpshufb") in table
    assert instructions.signed_bias() == (0 if kind == "arm_dot" else 128)


#: Runs all loops with other instructions than the processor's own, and compares with the twin.
PROGRAM = """
import sys
from llvmlite import ir
import numpy as np
from llama_edu.matmul.jit.int8 import instructions

kind = instructions.forced = sys.argv[1]
I32 = ir.IntType(32)
own = instructions._call

def call(builder, name, result, *arguments):
    if "tbl1" in name:
        name = "llvm.x86.ssse3.pshuf.b.128"
    if "sdot" not in name:
        return own(builder, name, result, *arguments)
    sums, a, b = arguments
    wide = ir.VectorType(I32, 16)
    products = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    for i in range(4):
        places = ir.Constant(ir.VectorType(I32, 4), [4 * k + i for k in range(4)])
        sums = builder.add(sums, builder.shuffle_vector(products, products, places))
    return sums

instructions._call = call
sys.path.insert(0, sys.argv[2])
from helpers.random_blocks import random_blocks
from llama_edu.matmul import matmul
from llama_edu.matmul.arithmetic import rounded_matmul
from llama_edu.matmul.jit.int8 import product

multiply, twin = product.int8_matmul(None), rounded_matmul(matmul, "int8")
x = np.random.default_rng(0).standard_normal((6, 512)).astype(np.float32)
for name in product.TYPES:
    w = random_blocks(name, 21, 512)
    for T in (1, 6):
        expected = twin(x[:T], w, 1)
        error = np.abs(multiply(x[:T], w) - expected).max() / np.linalg.norm(expected)
        assert error < 1e-6, (name, T, error)
print(kind, "equal")
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["avx_vnni", "arm_dot"])
def test_the_loops_are_right_with_the_instructions_of_other_processors(tmp_path, kind):
    if instructions.host_instructions() != "avx512_vnni":
        pytest.skip("their stand-ins need AVX-512 VNNI")
    tests = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, tests], capture_output=True, text=True, timeout=500,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout == f"{kind} equal\n", done.stderr


AGAIN = """
import numpy as np
from llama_edu.matmul.jit import machine_code
from llama_edu.matmul.jit.int8 import product, rounding, tiles, unpack

multiply = product.int8_matmul(None)
w = np.zeros((32, 1), product.block_type_of.__globals__["BLOCK_TYPES"]["q4_0"].dtype)
for T in (1, 6):
    for threads in (1, 2):
        multiply(np.ones((T, 32), np.float32), w, threads)
used = (unpack.q4_0, tiles.multiply)
kept = [function.cache_hits for function in machine_code._kept]
hits, misses = (sum(len(f.stats[what]) for f in used) for what in (1, 2))
print(misses + kept.count(0), hits + kept.count(1))
print(len(unpack.q8_0.stats.cache_misses) + len(rounding.to_q8_k.stats.cache_misses))
"""


def test_code_is_compiled_once_and_for_what_is_used_only(tmp_path):
    if instructions.host_instructions() is None:
        pytest.skip("no 8-bit instructions on this processor")

    def run() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", AGAIN], capture_output=True, text=True, timeout=200,
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert run() == ["4", "0", "0"]
    assert run() == ["0", "4", "0"]
