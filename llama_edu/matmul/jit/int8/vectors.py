"""Short vectors as values that compiled code holds in registers, and what can be done with them.

numba has arrays, which lie in memory, and numbers. Here is what lies between: `Vector(types.int8,
32)` and others, whose functions below become one or two instructions each. LLVM splits what is
longer than a register. This module has what brings them from memory and back; lanes.py computes.

Loads take (w, r, o): byte o of row r of a C-contiguous matrix, at any alignment. The caller stays
inside the matrix.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core.datamodel import models

from llama_edu.quants.table_quants import UNEVEN

#: Compiled code calls what this makes with fewer arguments than it is written with.
intrinsic: Any = extending.intrinsic

_LLVM = {
    types.int8: ir.IntType(8),
    types.uint8: ir.IntType(8),
    types.int16: ir.IntType(16),
    types.int32: ir.IntType(32),
    types.float32: ir.FloatType(),
}
_I32, _F32, _F16 = ir.IntType(32), ir.FloatType(), ir.HalfType()


class Vector(types.Type):
    """`n` numbers of one type, side by side."""

    def __init__(self, element: Any, n: int) -> None:
        self.element, self.n = element, n
        super().__init__(name=f"{n} x {element}")

    @property
    def llvm(self) -> Any:
        """The type that LLVM knows it by."""
        return ir.VectorType(_LLVM[self.element], self.n)

    def of(self, element: Any) -> Vector:
        """As many numbers of another type."""
        return Vector(element, self.n)


@extending.register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.llvm)


def same(builder: Any, value: Any, like: Any) -> Any:
    """LLVM: a vector of equal numbers; `like` is the vector's type."""
    first = builder.insert_element(ir.Constant(like, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(
        first, first, ir.Constant(ir.VectorType(_I32, like.count), [0] * like.count)
    )


def address(context: Any, builder: Any, array: Any, arguments: Any) -> Any:
    """LLVM: a pointer to byte o of row r."""
    matrix = context.make_array(array)(context, builder, arguments[0])
    width = builder.mul(builder.extract_value(matrix.shape, 1), matrix.itemsize)
    data = builder.bitcast(matrix.data, ir.IntType(8).as_pointer())
    return builder.gep(data, [builder.add(builder.mul(arguments[1], width), arguments[2])])


def _loads(result: Any, llvm: Any) -> Any:
    """A function (w, r, o) that reads what lies there."""

    @intrinsic
    def load(typing_context: Any, w: Any, r: Any, o: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            at = address(context, builder, signature.args[0], arguments)
            value = builder.load(builder.bitcast(at, llvm.as_pointer()))
            value.align = 1
            return builder.fpext(value, _F32) if llvm == _F16 else value

        return result(w, types.intp, types.intp), code

    return load


def _loads_vector(element: Any, n: int) -> Any:
    vector = Vector(element, n)
    return _loads(vector, vector.llvm)


bytes_16 = _loads_vector(types.uint8, 16)
bytes_32 = _loads_vector(types.uint8, 32)
signed_16 = _loads_vector(types.int8, 16)
ints_4 = _loads_vector(types.int32, 4)
ints_8 = _loads_vector(types.int32, 8)
ints_16 = _loads_vector(types.int32, 16)
ints_32 = _loads_vector(types.int32, 32)
floats_16 = _loads_vector(types.float32, 16)
floats_32 = _loads_vector(types.float32, 32)
word = _loads(types.uint32, _I32)
float_at = _loads(types.float32, _F32)
int_at = _loads(types.int32, _I32)
half = _loads(types.float32, _F16)


@intrinsic
def bytes_16_twice(typing_context: Any, w: Any, r: Any, o: Any) -> Any:
    """16 bytes, and the same again."""
    vector = Vector(types.uint8, 32)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = address(context, builder, signature.args[0], arguments)
        value = builder.load(
            builder.bitcast(at, ir.VectorType(_LLVM[types.uint8], 16).as_pointer())
        )
        value.align = 1
        places = ir.Constant(ir.VectorType(_I32, 32), [*range(16)] * 2)
        return builder.shuffle_vector(value, value, places)

    return vector(w, types.intp, types.intp), code


@intrinsic
def store(typing_context: Any, w: Any, r: Any, o: Any, vector: Any) -> Any:
    """Write a vector to byte o of row r."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = address(context, builder, signature.args[0], arguments)
        builder.store(arguments[3], builder.bitcast(at, vector.llvm.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(w, types.intp, types.intp, vector), code


@intrinsic
def store_number(typing_context: Any, w: Any, r: Any, o: Any, x: Any) -> Any:
    """Write a float32 or an int32 to byte o of row r."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = address(context, builder, signature.args[0], arguments)
        builder.store(arguments[3], builder.bitcast(at, _LLVM[x].as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(w, types.intp, types.intp, x), code


def _spreads(element: Any, n: int) -> Any:
    @intrinsic
    def spread(typing_context: Any, x: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return same(builder, arguments[0], Vector(element, n).llvm)

        return Vector(element, n)(element), code

    return spread


#: One number, n times.
spread_8 = _spreads(types.float32, 8)
spread_16 = _spreads(types.float32, 16)
spread_32 = _spreads(types.float32, 32)
spread_ints_8 = _spreads(types.int32, 8)
spread_bytes_32 = _spreads(types.uint8, 32)


def constant(element: Any, numbers: list[int]) -> Any:
    """A function without arguments: these numbers."""
    vector = Vector(element, len(numbers))

    @intrinsic
    def numbers_there(typing_context: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return ir.Constant(vector.llvm, numbers)

        return vector(), code

    return numbers_there


no_floats_8, no_floats_16 = constant(types.float32, [0] * 8), constant(types.float32, [0] * 16)
no_ints_8 = constant(types.int32, [0] * 8)

#: The sixteen values of iq4_nl and iq4_xs.
uneven = constant(types.uint8, [value & 255 for value in UNEVEN])
