"""x @ w.T with x rounded to 8 bits and integer products: the fast sibling of matmul/arithmetic.py.

For a few positions (decode), each type has a loop that reads the blocks in place. For more
(prefill), 16 rows at a time are laid side by side first. Other types, byte orders and processors
without the instructions go another way, which the caller names.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from llama_edu.matmul.jit import product as floats
from llama_edu.matmul.jit.int8 import (
    instructions,
    repack,
    repack_k,
    rounding,
    rows,
    rows_k,
    tiles,
)
from llama_edu.matmul.jit.machine_code import call, forget_stale_code
from llama_edu.matmul.product import Matmul, check_widths
from llama_edu.matmul.threads import run_shares
from llama_edu.matmul.workspace import scratch
from llama_edu.quants import table_quants
from llama_edu.quants.blocks import block_type_of

_HERE = Path(__file__).parent
forget_stale_code(rows.q4_0, (*_HERE.glob("*.py"), *floats.SOURCES, Path(table_quants.__file__)))


class Layout(NamedTuple):
    """What the loops must know of a type.

    Attributes:
        group: how many numbers share a scale. bias: the middle of the codes, as stored or, for
            signed codes, as the instruction takes them. has_minimums: whether groups add something.
        in_256: whether x is rounded to Q8_K, whose scale is for 256 numbers.
    """

    group: int = 32
    bias: int = 0
    has_minimums: bool = False
    in_256: bool = False


_SIGNED = instructions.signed_bias()
LAYOUTS = {
    "q4_0": Layout(bias=8),
    "q4_1": Layout(has_minimums=True),
    "q5_0": Layout(bias=16),
    "q5_1": Layout(has_minimums=True),
    "q8_0": Layout(bias=_SIGNED),
    "iq4_nl": Layout(bias=_SIGNED),
    "q2_k": Layout(group=16, has_minimums=True, in_256=True),
    "q3_k": Layout(group=16, bias=4, in_256=True),
    "q4_k": Layout(has_minimums=True, in_256=True),
    "q5_k": Layout(has_minimums=True, in_256=True),
    "q6_k": Layout(group=16, bias=32, in_256=True),
    "iq4_xs": Layout(bias=_SIGNED, in_256=True),
}

#: Stored types that have int8 loops.
TYPES = tuple(LAYOUTS)

#: With more positions than this, laying rows side by side pays off.
MOST_POSITIONS = 4

#: Rows that tiles.py works on together.
_TILE_ROWS = 16

#: Bytes of repacked codes, which should stay in a core's own cache until they are multiplied.
_REPACKED_BYTES = 256 * 1024

#: Products of single numbers below which waking a thread takes longer than computing them.
_WORTH_WAKING = 8 * 1024 * 1024

#: Products of single numbers that a thread computes at a time, at least: some 20 microseconds.
_SMALLEST = 4 * 1024 * 1024


def int8_matmul(otherwise: Matmul) -> Matmul:
    """The product by integers; `otherwise` multiplies what these loops cannot read.

    On a processor without the instructions, that is everything.
    """
    if instructions.host_instructions() is None:
        return otherwise

    def multiply(x: np.ndarray, w: np.ndarray, threads: int = 1) -> np.ndarray:
        block = block_type_of(w)
        if block.name not in LAYOUTS or not (w.flags.c_contiguous and w.dtype.isnative):
            return otherwise(x, w, threads)
        check_widths(x, w, block)
        stored = w.view(np.uint8)
        if stored.flags.writeable:
            stored.flags.writeable = False  # one compiled form for views and copies
        out = np.empty((len(x), len(w)), np.float32)
        rounded = _rounded(np.ascontiguousarray(x), LAYOUTS[block.name])
        if len(x) > MOST_POSITIONS and len(w) >= _TILE_ROWS:
            _by_tiles(block.name, stored, rounded, out, threads)
        else:
            loop = getattr(rows_k if LAYOUTS[block.name].in_256 else rows, block.name)
            floats.share(f"{block.name}, int8", loop, stored, rounded, out, threads)
        return out

    return multiply


def _rounded(x: np.ndarray, layout: Layout) -> np.ndarray:
    """(T, row_bytes) uint8: x as rounding.py lays it out."""
    rounded = scratch("x", (len(x), rounding.row_bytes(x.shape[1], layout.group)), np.uint8)
    if layout.in_256:
        call("rounding to 8 bits", rounding.to_q8_k, x, rounded, layout.group)
    else:
        call("rounding to 8 bits", rounding.to_q8_1, x, rounded)
    return rounded


def _by_tiles(
    name: str, stored: np.ndarray, rounded: np.ndarray, out: np.ndarray, threads: int
) -> None:
    """Repack some rows, multiply them by all positions, and so on."""
    layout = LAYOUTS[name]
    repacking = getattr(repack_k if layout.in_256 else repack, name)
    n = _numbers_of(rounded, layout.group)
    n_tiles = -(-len(stored) // _TILE_ROWS)
    together = max(1, _REPACKED_BYTES // (_TILE_ROWS * n))
    width = _TILE_ROWS * n // layout.group

    def multiply_tiles(first_tile: int, stop_tile: int) -> None:
        n_packed = min(together, stop_tile - first_tile)
        packed = scratch("packed", (n_packed, _TILE_ROWS * n), np.uint8)
        scales = scratch("scales", (n_packed, width))
        minimums = scratch("minimums", (n_packed, width if layout.has_minimums else 0))
        for tile in range(first_tile, stop_tile, together):
            parts = [a[: stop_tile - tile] for a in (packed, scales, minimums)]
            start = tile * _TILE_ROWS
            call(f"tiles of {name}, int8", repacking, stored, start, *parts)
            call("tiles, int8", tiles.multiply, *parts, rounded, layout.group, layout.bias,
                        out, start)  # fmt: skip

    if threads == 1 or out.size * n < _WORTH_WAKING:
        multiply_tiles(0, n_tiles)
    else:
        smallest = max(1, _SMALLEST // (_TILE_ROWS * n * len(rounded)))
        run_shares(multiply_tiles, n_tiles, threads, smallest)


def _numbers_of(rounded: np.ndarray, group: int) -> int:
    """How many numbers a rounded position has."""
    return rounded.shape[1] * group // (2 * group + 12)
