"""What arithmetic="auto" becomes where compiled kernels multiply: the fastest that costs little.

With numpy's kernels nothing is faster than float32, and "auto" is "float32"; choice.py says so
without asking here. Needs the extra `jit`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.matmul.arithmetic import Arithmetic, check_arithmetic
from llama_edu.quants.blocks import block_type_of


def fastest(weights: Iterable[np.ndarray]) -> Arithmetic:
    """Return "int8" if it is faster here for most numbers of the matrices, or else "float32".

    Most, because a file may hold some matrices in another type: those are multiplied as
    arithmetic.py says, too. One of a type without a rule there makes it "float32" for all.
    """
    matrices = [w for w in weights if w.ndim == 2]
    fast = faster_with_int8()
    sizes = {True: 0, False: 0}
    for w in matrices:
        block = block_type_of(w)
        readable = block.name in fast and w.flags.c_contiguous and w.dtype.isnative
        sizes[readable] += w.shape[0] * w.shape[1] * block.block_size
    if sizes[True] <= sizes[False]:
        return "float32"
    try:
        check_arithmetic("int8", matrices)
    except RequestError:
        return "float32"
    return "int8"


def faster_with_int8() -> frozenset[str]:
    """The stored types that arithmetic="auto" multiplies with rounded x on this processor.

    Those with loops that add up integers, if it has an instruction for that; and bf16, if it has
    one for bfloat16. For f16 nothing is won: x would be rounded, and then multiplied as float32.
    """
    from llama_edu.matmul.jit.int8 import instructions, product

    names = {*product.TYPES} if instructions.host_instructions() else set()
    return frozenset(names | ({"bf16"} if instructions.multiplies_bf16() else set()))
