"""What compiled code does with vectors: each function works in all lanes at once.

vectors.py explains what they are and has their loads, stores and constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from llama_edu.matmul.jit.int8 import instructions
from llama_edu.matmul.jit.int8.vectors import Vector, intrinsic, same

_I32, _F32, _F16 = ir.IntType(32), ir.FloatType(), ir.HalfType()


def llvm_function(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """One of LLVM's own functions, declared once in a module."""
    kind = ir.FunctionType(result, arguments)
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


def _of_one(result: Callable[[Vector], Any], build: Callable[..., Any]) -> Any:
    """A function of one vector. build(builder, vector, type of the result) gives LLVM's value."""

    @intrinsic
    def function(typing_context: Any, a: Any) -> Any:
        to = result(a)

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return build(builder, arguments[0], to.llvm)

        return to(a), code

    return function


def _of_two(build: Callable[..., Any]) -> Any:
    """A function of two vectors of one type that gives a third."""

    @intrinsic
    def function(typing_context: Any, a: Any, b: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return build(builder, *arguments)

        return a(a, b), code

    return function


def _with_number(build: Callable[..., Any]) -> Any:
    """A function of a vector of integers and one integer, the same for all lanes."""

    @intrinsic
    def function(typing_context: Any, a: Any, number: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lane = a.llvm.element
            short = arguments[1]
            if short.type.width > lane.width:
                short = builder.trunc(short, lane)
            return build(builder, arguments[0], same(builder, short, a.llvm))

        return a(a, types.intp), code

    return function


both = _of_two(lambda b, x, y: b.or_(x, y))
less = _of_two(lambda b, x, y: b.sub(x, y))
plus = _of_two(lambda b, x, y: b.add(x, y))
times = _of_two(lambda b, x, y: b.mul(x, y))
float_times = _of_two(lambda b, x, y: b.fmul(x, y))
masked = _with_number(lambda b, x, mask: b.and_(x, mask))
flipped = _with_number(lambda b, x, mask: b.xor(x, mask))
minus = _with_number(lambda b, x, number: b.sub(x, number))
left = _with_number(lambda b, x, places: b.shl(x, places))
right = _with_number(lambda b, x, places: b.lshr(x, places))
as_floats = _of_one(lambda v: v.of(types.float32), lambda b, x, to: b.sitofp(x, to))
unsigned_ints = _of_one(lambda v: v.of(types.int32), lambda b, x, to: b.zext(x, to))
signed_ints = _of_one(lambda v: v.of(types.int32), lambda b, x, to: b.sext(x, to))


@intrinsic
def right_in_second_half(typing_context: Any, a: Any, places: Any) -> Any:
    """Bits of 32-bit words moved right in the second half of a vector; mask what crosses bytes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = ir.VectorType(_I32, a.n // 4)
        some = builder.trunc(arguments[1], _I32)
        by = ir.Constant(words, ir.Undefined)
        for i in range(words.count):
            n = some if i >= words.count // 2 else ir.Constant(_I32, 0)
            by = builder.insert_element(by, n, ir.Constant(_I32, i))
        moved = builder.lshr(builder.bitcast(arguments[0], words), by)
        return builder.bitcast(moved, a.llvm)

    return a(a, types.intp), code


def _nearest_bytes(builder: Any, x: Any, to: Any) -> Any:
    function = llvm_function(builder, f"llvm.rint.v{to.count}f32", x.type, [x.type])
    whole = builder.call(function, [x])
    return builder.trunc(builder.fptosi(whole, ir.VectorType(_I32, to.count)), to)


#: The nearest integers, half to even, of floats between -128 and 127.
nearest_bytes = _of_one(lambda v: v.of(types.int8), _nearest_bytes)


@intrinsic
def joined(typing_context: Any, a: Any, b: Any) -> Any:
    """Two vectors, one after the other."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return instructions.joined(builder, *arguments)

    return Vector(a.element, 2 * a.n)(a, b), code


#: Signed codes as what `dot` takes.
without_sign = _of_one(lambda v: v, lambda b, x, to: instructions.without_sign(b, x))


@intrinsic
def bits(typing_context: Any, word: Any) -> Any:
    """The 32 bits of a word as 32 bytes, 1 where they are set; the least significant first."""
    vector = Vector(types.uint8, 32)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        flags = builder.bitcast(arguments[0], ir.VectorType(ir.IntType(1), 32))
        return builder.zext(flags, vector.llvm)

    return vector(types.uint32), code


@intrinsic
def bytes_of(typing_context: Any, low: Any, high: Any) -> Any:
    """The 8 bytes of two words, the least significant first, as 8 int32."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pair = ir.Constant(ir.VectorType(_I32, 2), ir.Undefined)
        for i in (0, 1):
            pair = builder.insert_element(pair, arguments[i], ir.Constant(_I32, i))
        eight = builder.bitcast(pair, ir.VectorType(ir.IntType(8), 8))
        return builder.zext(eight, ir.VectorType(_I32, 8))

    return Vector(types.int32, 8)(types.uint32, types.uint32), code


@intrinsic
def looked_up(typing_context: Any, table: Any, places: Any) -> Any:
    """table[places]: 16 bytes each, places 0 to 15."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return instructions.looked_up(builder, *arguments)

    return table(table, places), code


@intrinsic
def dot(typing_context: Any, sums: Any, codes: Any, x: Any) -> Any:
    """To sums, in each lane, add four products of bytes; see instructions.py."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return instructions.dot(builder, *arguments)

    return sums(sums, codes, x), code


@intrinsic
def signed_dot(typing_context: Any, less: Any, codes: Any, x: Any) -> Any:
    """The same for signed codes; `less` are the sums of each four of x, negated."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return instructions.signed_dot(builder, *arguments)

    return less(less, codes, x), code


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """The product of a and b, plus c, rounded once."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = llvm_function(builder, f"llvm.fma.v{a.n}f32", a.llvm, [a.llvm] * 3)
        return builder.call(function, arguments)

    return a(a, a, a), code


@intrinsic
def lane(typing_context: Any, a: Any, k: Any) -> Any:
    """Lane k in all lanes. Fast where LLVM knows k, as in a short loop that it unrolls."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return same(builder, builder.extract_element(*arguments), a.llvm)

    return a(a, types.intp), code


@intrinsic
def int_lane(typing_context: Any, a: Any, k: Any) -> Any:
    """Lane k of int32 lanes, as a number."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.extract_element(*arguments)

    return types.int32(a, types.intp), code


@intrinsic
def pair(typing_context: Any, a: Any, k: Any) -> Any:
    """8 lanes: lane k four times, lane k + 1 four times."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, first = arguments
        two = ir.Constant(ir.VectorType(a.llvm.element, 2), ir.Undefined)
        for i in (0, 1):
            place = builder.add(first, ir.Constant(first.type, i))
            number = builder.extract_element(vector, place)
            two = builder.insert_element(two, number, ir.Constant(_I32, i))
        wanted = ir.Constant(ir.VectorType(_I32, 8), [0] * 4 + [1] * 4)
        return builder.shuffle_vector(two, two, wanted)

    return Vector(a.element, 8)(a, types.intp), code


@intrinsic
def total(typing_context: Any, a: Any) -> Any:
    """The sum of all float lanes; in an order that LLVM chooses, always the same."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name = f"llvm.vector.reduce.fadd.v{a.n}f32"
        function = llvm_function(builder, name, _F32, [_F32, a.llvm])
        return builder.call(function, [ir.Constant(_F32, 0.0), arguments[0]], fastmath=("reassoc",))

    return types.float32(a), code


def _reduces(operation: str) -> Any:
    """A function of a vector of int32 that gives one."""

    @intrinsic
    def reduced(typing_context: Any, a: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            name = f"llvm.vector.reduce.{operation}.v{a.n}i32"
            function = llvm_function(builder, name, _I32, [a.llvm])
            return builder.call(function, arguments)

        return types.int32(a), code

    return reduced


int_total, largest = _reduces("add"), _reduces("smax")


@intrinsic
def rounded_to_half(typing_context: Any, x: Any) -> Any:
    """The float32 nearest to x that a float16 can hold."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.fptrunc(arguments[0], _F16), _F32)

    return types.float32(types.float32), code
