"""What this processor has for panels: how wide its vectors are, and what they multiply.

Asked in LLVM's terms, as in int8/instructions.py: numba compiles for these features, and its disk
cache knows them.
"""

from __future__ import annotations

from functools import cache

#: Positions of a panel that any processor with fused multiplications has registers for.
NARROW = 16


def wide_panel(triple: str, features: str) -> int:
    """How many positions the registers hold, four times over; 0 without fused multiplications.

    Args:
        triple: "x86_64-unknown-linux-gnu", for example. features: "+avx,-sse4a,...".
    """
    has = set(features.split(","))
    if triple.startswith(("x86_64", "i686")):
        if has >= {"+avx512f", "+avx512vl", "+fma"}:
            return 2 * NARROW
        return NARROW if has >= {"+avx", "+fma"} else 0
    return NARROW if triple.startswith(("aarch64", "arm64")) else 0


def multiplies_bf16(triple: str, features: str) -> bool:
    """Whether there is an instruction for pairs of bfloat16, with float32 sums.

    vdpbf16ps, on Intel since 2020 and AMD since 2022. Arm's bfdot is not used.
    """
    has = set(features.split(","))
    return triple.startswith("x86_64") and has >= {"+avx512bf16", "+avx512vl", "+fma"}


@cache
def host() -> tuple[int, bool]:
    """wide_panel and multiplies_bf16 for what numba compiles for."""
    from numba.core.registry import cpu_target

    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return wide_panel(triple, features), multiplies_bf16(triple, features)
