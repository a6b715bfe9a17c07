"""Which processor instructions multiply bytes and add up four products at a time.

All of them do the same for each of several int32: sum += a[0] * b[0] + ... + a[3] * b[3].

| name | processors | instruction | operands |
|---|---|---|---|
| avx512_vnni | Intel since 2019, AMD since 2022 | vpdpbusd, 256 or 512 bits | unsigned, signed |
| avx_vnni | Intel since 2021 | vpdpbusd, 256 bits | unsigned, signed |
| arm_dot | Arm since v8.2 with "dotprod", Apple since M1 | sdot, 128 bits | both signed |

What is unsigned here are the weights: codes below 128 are the same in both, and signed ones have
128 added, which 128 times the sum of x takes back (`bias`). What LLVM makes of these names is
tested for each of them; avx_vnni and arm_dot have not run on a processor that has them.

Sources: Intel's Intrinsics Guide, _mm256_dpbusd_epi32; Arm's intrinsics reference, vdotq_s32.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from llvmlite import ir

#: The instructions known here.
Instructions = Literal["avx512_vnni", "avx_vnni", "arm_dot"]
KNOWN: tuple[str, ...] = get_args(Instructions)

#: What to use in place of the processor's own, for tests; set before anything is compiled.
forced: Instructions | None = None

_I8, _I32 = ir.IntType(8), ir.IntType(32)


def host_instructions() -> Instructions | None:
    """What numba may compile for: the processor's, less what NUMBA_CPU_FEATURES leaves out."""
    if forced is not None:
        return forced
    return among(*_compiled_for())


def multiplies_bf16() -> bool:
    """Whether numba may compile for the instructions of AVX-512 that multiply bfloat16."""
    return "+avx512bf16" in _compiled_for()[2].split(",")


def _compiled_for() -> tuple[str, str, str]:
    """What among() takes."""
    from numba.core.registry import cpu_target

    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    return triple, name, features


def among(triple: str, name: str, features: str) -> Instructions | None:
    """What a processor has, in LLVM's terms.

    Args:
        triple: "x86_64-unknown-linux-gnu", for example. name: of the processor.
        features: "+avx,-sse4a,...".
    """
    has = set(features.split(","))
    if triple.startswith(("x86_64", "i686")):
        if has >= {"+avx512vnni", "+avx512vl", "+avx512bw"}:
            return "avx512_vnni"
        return "avx_vnni" if has >= {"+avxvnni", "+f16c", "+fma"} else None
    if triple.startswith(("aarch64", "arm64")) and ("+dotprod" in has or name[:7] == "apple-m"):
        return "arm_dot"
    return None


def signed_bias() -> int:
    """What is added to signed codes to make them what the instruction takes."""
    return 0 if host_instructions() == "arm_dot" else 128


def dot(builder: Any, sums: Any, codes: Any, x: Any) -> Any:
    """LLVM: sums (n x i32) and four products each of codes (4n x i8) and x (4n x i8)."""
    kind = host_instructions()
    most = {"avx512_vnni": 16, "avx_vnni": 8, "arm_dot": 4}[str(kind)]
    n = sums.type.count
    if n > most:
        parts = [
            dot(builder, *(_half(builder, v, side) for v in (sums, codes, x))) for side in (0, 1)
        ]
        return joined(builder, *parts)
    if kind == "arm_dot":
        return _call(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", sums.type, sums, codes, x)
    # operands as LLVM typed them before version 22, which later ones adapt
    codes, x = builder.bitcast(codes, sums.type), builder.bitcast(x, sums.type)
    return _call(builder, f"llvm.x86.avx512.vpdpbusd.{32 * n}", sums.type, sums, codes, x)


def signed_dot(builder: Any, less: Any, codes: Any, x: Any) -> Any:
    """LLVM: the same for signed codes, from zero. less (n x i32): sums of four of x, negated."""
    if signed_bias() == 0:
        return dot(builder, ir.Constant(less.type, None), codes, x)
    start = builder.shl(less, ir.Constant(less.type, [7] * less.type.count))
    return dot(builder, start, without_sign(builder, codes), x)


def without_sign(builder: Any, codes: Any) -> Any:
    """LLVM: signed codes with signed_bias() added."""
    if signed_bias() == 0:
        return codes
    return builder.xor(codes, ir.Constant(codes.type, [-128] * codes.type.count))


def looked_up(builder: Any, table: Any, places: Any) -> Any:
    """LLVM: table[places] for 16 bytes each, places 0 to 15."""
    if host_instructions() == "arm_dot":
        return _call(builder, "llvm.aarch64.neon.tbl1.v16i8", table.type, table, places)
    return _call(builder, "llvm.x86.ssse3.pshuf.b.128", table.type, table, places)


def joined(builder: Any, first: Any, second: Any) -> Any:
    """LLVM: two vectors as one of twice the length."""
    places = ir.Constant(ir.VectorType(_I32, 2 * first.type.count), [*range(2 * first.type.count)])
    return builder.shuffle_vector(first, second, places)


def _half(builder: Any, vector: Any, side: int) -> Any:
    n = vector.type.count // 2
    places = ir.Constant(ir.VectorType(_I32, n), [*range(side * n, side * n + n)])
    return builder.shuffle_vector(vector, vector, places)


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Call one of LLVM's own functions."""
    function = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(result, [a.type for a in arguments]), name
    )
    return builder.call(function, arguments)
