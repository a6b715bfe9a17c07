"""Memory by its address in compiled code: arrays, words that threads share, functions to call.

A model becomes a table of numbers (token/tables.py), so that one compiled form serves all models.
Nothing here checks an address: the maker of a table keeps what lies there alive and in range.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import carray, extending, types

from llama_edu.matmul.jit.loops import inlined

#: Compiled code calls what this makes with fewer arguments than it is written with.
intrinsic: Any = extending.intrinsic

_I64, _VOID = ir.IntType(64), ir.VoidType()


def _pointer_to(element: Any) -> Any:
    """A function of an address that gives a pointer to such numbers."""

    @intrinsic
    def pointer(typing_context: Any, address: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), code

    return pointer


_floats, _bytes = _pointer_to(types.float32), _pointer_to(types.uint8)
_shorts, _integers = _pointer_to(types.int16), _pointer_to(types.int32)


@inlined
def floats_at(address, n):
    """(n,) float32."""
    return carray(_floats(address), n)


@inlined
def bits_at(address, n):
    """(n,) int32."""
    return carray(_integers(address), n)


@inlined
def float_rows_at(address, rows, n):
    """(rows, n) float32."""
    return carray(_floats(address), (rows, n))


@inlined
def byte_rows_at(address, rows, n):
    """(rows, n) uint8."""
    return carray(_bytes(address), (rows, n))


@inlined
def short_rows_at(address, rows, n):
    """(rows, n) int16."""
    return carray(_shorts(address), (rows, n))


def _word(builder: Any, arguments: Any) -> Any:
    """LLVM: a pointer to word arguments[1] from address arguments[0] on."""
    start = builder.inttoptr(arguments[0], _I64.as_pointer())
    return builder.gep(start, [arguments[1]])


@intrinsic
def word(typing_context: Any, address: Any, i: Any) -> Any:
    """Word i of a table of int64."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_word(builder, arguments))

    return types.int64(types.int64, types.int64), code


@intrinsic
def set_word(typing_context: Any, address: Any, i: Any, value: Any) -> Any:
    """Set word i of a table of int64."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _word(builder, arguments))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@intrinsic
def load_shared(typing_context: Any, address: Any, i: Any) -> Any:
    """Word i, and with it all that a thread wrote before it stored this value there."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_word(builder, arguments), "acquire", 8, typ=_I64)

    return types.int64(types.int64, types.int64), code


@intrinsic
def store_shared(typing_context: Any, address: Any, i: Any, value: Any) -> Any:
    """Set word i; who loads it sees all that was written before."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[2], _word(builder, arguments), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@intrinsic
def add_shared(typing_context: Any, address: Any, i: Any, value: Any) -> Any:
    """Add to word i in one step; who loads the sum sees all that was written before."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.atomic_rmw("add", _word(builder, arguments), arguments[2], "acq_rel")
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


@intrinsic
def replace_shared(typing_context: Any, address: Any, i: Any, old: Any, new: Any) -> Any:
    """Set word i to `new` if it is `old`, in one step; whether it was."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = _word(builder, arguments)
        found = builder.cmpxchg(at, arguments[2], arguments[3], "acq_rel", "acquire")
        return builder.extract_value(found, 1)

    return types.boolean(*[types.int64] * 4), code


@intrinsic
def call_at(typing_context: Any, address: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any,
            g: Any, h: Any, i: Any) -> Any:  # fmt: skip
    """Call a C function of nine int64 that returns nothing; see kernels.py."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = ir.FunctionType(_VOID, [_I64] * 9).as_pointer()
        builder.call(builder.inttoptr(arguments[0], function), arguments[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 10), code


@intrinsic
def call_c(typing_context: Any, address: Any, argument: Any) -> Any:
    """Call a C function of one int, such as usleep; one without arguments ignores it."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = ir.FunctionType(ir.IntType(32), [ir.IntType(32)]).as_pointer()
        builder.call(builder.inttoptr(arguments[0], function), arguments[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int32), code
