"""What the tiles do with vectors of any length: the first argument says which.

They go on from int8/vectors.py and int8/lanes.py, whose loads have their length in the name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from llama_edu.matmul.jit.int8.lanes import float_times, fma, llvm_function
from llama_edu.matmul.jit.int8.vectors import Vector, address, constant, intrinsic, same
from llama_edu.matmul.jit.loops import inlined
from llama_edu.matmul.jit.panels import host

_I32, _F32 = ir.IntType(32), ir.FloatType()

#: Positions of the widest panel here.
WIDE = host.host()[0] or host.NARROW

no_floats_wide = constant(types.float32, [0] * WIDE)


@intrinsic
def lanes_of(typing_context: Any, like: Any) -> Any:
    """How many lanes a vector has."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(ir.IntType(64), like.n)

    return types.intp(like), code


def _loads_like(element: Any, per_lane: int) -> Any:
    """A function (like, w, r, o) that reads as many numbers as `like` has lanes, or four times."""

    @intrinsic
    def load(typing_context: Any, like: Any, w: Any, r: Any, o: Any) -> Any:
        vector = Vector(element, per_lane * like.n)

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at = address(context, builder, signature.args[1], arguments[1:])
            value = builder.load(builder.bitcast(at, vector.llvm.as_pointer()))
            value.align = 4
            return value

        return vector(like, w, types.intp, types.intp), code

    return load


floats, ints, fours = (
    _loads_like(types.float32, 1), _loads_like(types.int32, 1), _loads_like(types.uint8, 4),
)  # fmt: skip


@intrinsic
def spread(typing_context: Any, like: Any, number: Any) -> Any:
    """A float32 in all lanes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return same(builder, arguments[1], like.llvm)

    return like(like, types.float32), code


@intrinsic
def scaled_ints(typing_context: Any, like: Any, w: Any, r: Any, o: Any, factor: Any) -> Any:
    """The int32 there, each times a factor."""
    vector = like.of(types.int32)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = address(context, builder, signature.args[1], arguments[1:])
        value = builder.load(builder.bitcast(at, vector.llvm.as_pointer()))
        value.align = 4
        short = builder.trunc(arguments[4], _I32)
        return builder.mul(value, same(builder, short, vector.llvm))

    return vector(like, w, types.intp, types.intp, types.intp), code


@intrinsic
def four_bytes(typing_context: Any, like: Any, w: Any, r: Any, o: Any) -> Any:
    """The four bytes there, once for each lane."""
    vector = Vector(types.uint8, 4 * like.n)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = address(context, builder, signature.args[1], arguments[1:])
        four = builder.load(builder.bitcast(at, _I32.as_pointer()))
        four.align = 4
        return builder.bitcast(same(builder, four, ir.VectorType(_I32, like.n)), vector.llvm)

    return vector(like, w, types.intp, types.intp), code


@intrinsic
def bf16_dot(typing_context: Any, sums: Any, pair: Any, x: Any) -> Any:
    """To sums, in each lane, add two products of bfloat16: `pair` is the same in all lanes.

    Args:
        pair: int32. x: one int32 in each lane. Both hold two bfloat16.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        short, parts = ir.VectorType(_F32, 16), []
        pairs = same(builder, arguments[1], ir.VectorType(_I32, 16))
        # operands as LLVM typed them before version 22, which later ones adapt
        dot = llvm_function(
            builder, "llvm.x86.avx512bf16.dpbf16ps.512", short, [short, pairs.type, pairs.type]
        )
        for start in range(0, sums.n, 16):
            sixteen, there = (_part(builder, v, start, 16) for v in (arguments[0], arguments[2]))
            parts.append(builder.call(dot, [sixteen, pairs, there]))
        return _together(builder, parts)

    return sums(sums, types.int32, x), code


@intrinsic
def store_four(typing_context: Any, w: Any, r: Any, o: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Write lane i of four vectors side by side, to byte o of row r + i."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = address(context, builder, signature.args[0], arguments)
        matrix = context.make_array(signature.args[0])(context, builder, arguments[0])
        width = builder.mul(builder.extract_value(matrix.shape, 1), matrix.itemsize)
        four = ir.VectorType(_F32, 4)
        for start in range(0, a.n, 16):
            rows = [_part(builder, v, start, 16) for v in arguments[3:]]
            even, odd = _zipped(builder, rows[0], rows[2]), _zipped(builder, rows[1], rows[3])
            mixed = _zipped(builder, even, odd)
            for i in range(16):
                to = builder.bitcast(at, four.as_pointer())
                builder.store(_part(builder, mixed, 4 * i, 4), to).align = 4
                at = builder.gep(at, [width])
        return context.get_dummy_value()

    return types.void(w, types.intp, types.intp, a, a, a, a), code


def _of_floats(build: Any) -> Any:
    """A function of two float vectors that gives a third."""

    @intrinsic
    def function(typing_context: Any, a: Any, b: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return build(builder, *arguments)

        return a(a, a), code

    return function


plus = _of_floats(lambda b, x, y: b.fadd(x, y))
less = _of_floats(lambda b, x, y: b.fsub(x, y))
over = _of_floats(lambda b, x, y: b.fdiv(x, y))
#: The larger of two, and the first where there is none because it is NaN.
larger = _of_floats(lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), y, x))


@intrinsic
def hidden_before(typing_context: Any, a: Any, n: Any) -> Any:
    """The first n lanes become -inf."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(_I32, a.n)
        count = same(builder, builder.trunc(arguments[1], _I32), vector)
        is_hidden = builder.icmp_signed("<", ir.Constant(vector, [*range(a.n)]), count)
        return builder.select(is_hidden, ir.Constant(a.llvm, [float("-inf")] * a.n), arguments[0])

    return a(a, types.intp), code


@intrinsic
def _rounded(typing_context: Any, a: Any) -> Any:
    """The nearest integers, as floats."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = llvm_function(builder, f"llvm.rint.v{a.n}f32", a.llvm, [a.llvm])
        return builder.call(function, arguments)

    return a(a), code


@intrinsic
def _power_of_two(typing_context: Any, a: Any) -> Any:
    """2 ** a for integers as floats, -126 to 127."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(_I32, a.n)
        whole = builder.fptosi(arguments[0], vector)
        exponent = builder.add(whole, ir.Constant(vector, [127] * a.n))
        return builder.bitcast(builder.shl(exponent, ir.Constant(vector, [23] * a.n)), a.llvm)

    return a(a), code


@inlined
def exp(x):
    """E ** x of each lane, for x of at most 88: within 2e-7; below -87, that of -87. NaN stays.

    Source: Cephes, expf; https://www.netlib.org/cephes/.
    """
    x = larger(x, spread(x, np.float32(-87)))
    whole = _rounded(float_times(x, spread(x, np.float32(1.4426950408889634))))
    rest = fma(whole, spread(x, np.float32(-0.693359375)), x)
    rest = fma(whole, spread(x, np.float32(2.12194440e-4)), rest)
    p = fma(spread(x, np.float32(1.9875691500e-4)), rest, spread(x, np.float32(1.3981999507e-3)))
    p = fma(p, rest, spread(x, np.float32(8.3334519073e-3)))
    p = fma(p, rest, spread(x, np.float32(4.1665795894e-2)))
    p = fma(p, rest, spread(x, np.float32(1.6666665459e-1)))
    p = fma(p, rest, spread(x, np.float32(5.0000001201e-1)))
    p = fma(float_times(p, rest), rest, plus(rest, spread(x, np.float32(1))))
    return float_times(p, _power_of_two(whole))


def _shuffled(builder: Any, a: Any, b: Any, places: list[int]) -> Any:
    wanted = ir.Constant(ir.VectorType(_I32, len(places)), places)
    return builder.shuffle_vector(a, b, wanted)


def _part(builder: Any, vector: Any, start: int, n: int) -> Any:
    """LLVM: n lanes of a vector."""
    return _shuffled(builder, vector, vector, [*range(start, start + n)])


def _zipped(builder: Any, a: Any, b: Any) -> Any:
    """LLVM: a[0], b[0], a[1], b[1] ..."""
    n = a.type.count
    return _shuffled(builder, a, b, [i // 2 + n * (i % 2) for i in range(2 * n)])


def _together(builder: Any, parts: list[Any]) -> Any:
    """LLVM: vectors one after the other; their number is a power of two."""
    while len(parts) > 1:
        n = 2 * parts[0].type.count
        parts = [
            _shuffled(builder, a, b, [*range(n)])
            for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
    return parts[0]
