"""x @ w.T with x rounded to 8 bits and integer products: the fast sibling of matmul/arithmetic.py.

For a few positions (decode), each type has a loop that reads the blocks in place. For more
(prefill), positions are laid side by side and multiplied by a few rows whose codes became bytes;
for weights of 16 bits, x is rounded to their type then, as llama.cpp does. Other types, byte orders
and processors without the instructions go another way, which the caller names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llama_edu.matmul.jit import few
from llama_edu.matmul.jit import product as floats
from llama_edu.matmul.jit.int8 import instructions, tiles, unpack, unpack_k
from llama_edu.matmul.jit.int8.layouts import LAYOUTS
from llama_edu.matmul.jit.machine_code import call, forget_stale_code
from llama_edu.matmul.jit.panels import jobs, positions
from llama_edu.matmul.jit.panels import product as panels
from llama_edu.matmul.product import Matmul, SharedInput, check_widths
from llama_edu.matmul.workspace import scratch
from llama_edu.quants import table_quants
from llama_edu.quants.blocks import BlockType, block_type_of

forget_stale_code(tiles.multiply, (*floats.SOURCES, Path(table_quants.__file__)))


#: Stored types that have int8 loops.
TYPES = tuple(LAYOUTS)

#: Bytes of unpacked codes, which should stay in a core's own cache until they are multiplied.
_UNPACKED_BYTES = 256 * 1024

#: Numbers of x below which waking a thread takes longer than rounding them.
_WORTH_WAKING = 256 * 1024


def int8_matmul(otherwise: Matmul) -> Matmul:
    """The product by integers; `otherwise` multiplies what these loops cannot read.

    On a processor without the instructions, that is everything.
    """
    if instructions.host_instructions() is None:
        return otherwise

    def one(x: np.ndarray, w: np.ndarray, threads: int = 1) -> np.ndarray:
        block = block_type_of(w)
        if len(x) > few.MOST_POSITIONS and _way_of(w, block):
            return several(x, [w], threads)[0]
        kernel = few.kernel_of(w, "int8") if len(x) <= few.MOST_POSITIONS else None
        if kernel is None:
            return otherwise(x, w, threads)
        check_widths(x, w, block)
        return few.multiply(x, w, kernel, threads)

    def several(x: np.ndarray, matrices: Sequence[np.ndarray], threads: int) -> list[np.ndarray]:
        laid: dict[str, np.ndarray] = {}
        results, work = [], []
        for w in matrices:
            block = block_type_of(w)
            way = _way_of(w, block) if len(x) > few.MOST_POSITIONS else ""
            if not way:
                results.append(one(x, w, threads))
                continue
            check_widths(x, w, block)
            if way not in laid:
                laid[way] = _side_by_side(x, way, threads)
            out, wanted = panels.results(len(x), len(w))
            work.append(_job(laid[way], w, block, out))
            results.append(wanted)
        jobs.run(work, threads)
        return results

    return SharedInput(one, several)


def _way_of(w: np.ndarray, block: BlockType) -> str:
    """How x is rounded and laid out for a matrix of many positions; "" if there are no tiles."""
    if not panels.can_multiply(len(w)) or not (w.flags.c_contiguous and w.dtype.isnative):
        return ""
    if block.name in LAYOUTS:
        layout = LAYOUTS[block.name]
        return f"Q8_K/{layout.group}" if layout.in_256 else "Q8_1"
    if block.name == "f16" and floats.has_tiles(w, block):
        return "f16"
    if block.name == "bf16" and panels.can_multiply_bf16(floats.stored_numbers(w, block)):
        return "bf16"
    return ""


def _side_by_side(x: np.ndarray, way: str, threads: int) -> np.ndarray:
    """(1, bytes) uint8: x, rounded, in panels."""
    if way in panels.ROUNDINGS:
        return panels.side_by_side(x, way)
    x = np.ascontiguousarray(x)
    n = x.shape[1]
    form = few.ROUNDED[way.startswith("Q8_K"), int(way[5:] or 32)]

    def fill(first: int, stop: int, panel: np.ndarray) -> None:
        rounded = few.formed(x[first:stop], form).view(np.float32)
        # without the sums of each four codes, which only rows.py needs
        call("panels", positions.lay_side_by_side, rounded, 0, n // 4, panel, 0)
        call("panels", positions.lay_side_by_side, rounded, n // 2, rounded.shape[1], panel, n // 4)

    width = n // 4 + 3 * (n // form.group)
    return positions.panels(len(x), width, fill, threads if x.size >= _WORTH_WAKING else 1)


def _job(x: np.ndarray, w: np.ndarray, block: BlockType, out: np.ndarray) -> jobs.Job:
    """Multiply panels, rounded for this matrix, by its rows."""
    if block.name == "bf16":
        return panels.bf16_job(x, floats.stored_numbers(w, block), out)
    if block.name not in LAYOUTS:
        return floats.float_job(x, w, block, out)
    layout, stored = LAYOUTS[block.name], floats.stored_numbers(w, block)
    unpacking = getattr(unpack_k if layout.in_256 else unpack, block.name)
    n = w.shape[1] * block.block_size
    together = max(1, _UNPACKED_BYTES // (jobs.TILE_ROWS * n))

    def run(first: int, stop: int) -> None:
        n_rows = min(together, stop - first) * jobs.TILE_ROWS
        n_groups = n // layout.group
        codes = scratch("codes", (n_rows, n), np.uint8)
        scales = scratch("scales", (n_rows, n_groups))
        minimums = scratch("minimums", (n_rows, n_groups if layout.has_minimums else 0))
        for tile in range(first, stop, together):
            start, end = jobs.rows_of(tile, min(tile + together, stop), len(w))
            parts = [a[: end - start] for a in (codes, scales, minimums)]
            call(f"tiles of {block.name}, int8", unpacking, stored, start, *parts)
            call("tiles, int8", tiles.multiply, *parts, x, layout.group, layout.bias, out, start)

    return jobs.Job(jobs.tiles_of(len(w)), n * out.size, run)
