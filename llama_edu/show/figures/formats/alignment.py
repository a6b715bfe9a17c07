"""A figure of where tensor data start: the bytes around each record, drawn 32 to a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.files.anatomy import fields_of
from llama_edu.files.ggml.header import ALIGNMENT
from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.ink import BLUE, FAINT, INK, LIGHT, PURPLE, VERMILLION, new_figure, on
from llama_edu.show.runtime.optional import import_optional
from llama_edu.text import one_line

#: What a byte near the start of a tensor can be; a kind is an index into this.
KINDS = ("what was before", "sizes and type", "name", "padding", "data")
_OTHER, _SIZES, _NAME, _PADDING, _DATA = range(5)

#: In the order of KINDS; padding, being empty, has none.
_COLORS = (FAINT, BLUE, PURPLE, "none", LIGHT)


@dataclass(frozen=True)
class TensorStart:
    """The bytes from one tensor's record to the first of its data, in whole rows of 32.

    Attributes:
        name: as in the file.
        first: offset of the first byte drawn, a multiple of 32.
        kinds: (n_rows, 32) uint8, an index into KINDS for each byte.
        characters: the same bytes; only those of names are drawn.
        data_offset: where the numbers begin.
    """

    name: str
    first: int
    kinds: np.ndarray
    characters: bytes
    data_offset: int


def tensor_starts(path: Path, n_tensors: int) -> list[TensorStart]:
    """The starts of the first tensors of a ggml, ggmf or ggjt file.

    Raises:
        RequestError: the file's format has no header before each tensor.
        FormatError: the file cannot be read.
    """
    fields = list(fields_of(path))
    begins = [i for i, field in enumerate(fields) if field.name == "number of dimensions"]
    if not begins:
        raise RequestError(
            f"{path}: has no record before each tensor, expected a ggml, ggmf or ggjt file"
        )
    starts = []
    with path.open("rb") as file:
        for begin in begins[:n_tensors]:
            end = next(i for i in range(begin, len(fields)) if fields[i].name.startswith("data of"))
            data_offset = fields[end].offset
            first = fields[begin].offset // ALIGNMENT * ALIGNMENT
            stop = (data_offset // ALIGNMENT + 1) * ALIGNMENT
            kinds = np.full(stop - first, _OTHER, np.uint8)
            for field in fields[begin : end + 1]:
                kinds[field.offset - first : field.end - first] = _kind_of(field.name)
            file.seek(first)
            starts.append(
                TensorStart(
                    fields[end].name.removeprefix("data of "), first,
                    kinds.reshape(-1, ALIGNMENT), file.read(stop - first), data_offset,
                )
            )  # fmt: skip
    return starts


def _kind_of(field_name: str) -> int:
    if field_name.startswith("data of"):
        return _DATA
    if field_name.startswith("padding"):
        return _PADDING
    return _NAME if field_name == "tensor name" else _SIZES


def alignment_figure(paths: Sequence[Path], n_tensors: int = 3) -> AltFigure:
    """Where the data of the first tensors start, one panel for each file, 32 bytes to a row.

    Raises:
        RequestError, FormatError: as `tensor_starts`.
        LlamaEduError: matplotlib is not installed.
    """
    patches = import_optional("matplotlib.patches", "alignment_figure")
    panels = [tensor_starts(path, n_tensors) for path in paths]
    heights = [sum(len(start.kinds) + 1 for start in panel) for panel in panels]
    figure = new_figure("alignment_figure", 7.5, 0.9 + sum(0.21 * rows + 0.35 for rows in heights))
    all_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, path, panel in zip(all_axes, paths, panels, strict=True):
        _draw_panel(axes, panel)
        axes.set_title(plain_label(path.name), loc="left", fontsize=10)
    all_axes[-1].set_xlabel(f"byte within a row of {ALIGNMENT}")
    figure.supylabel("offset of the row in the file (bytes)", fontsize=10)
    figure.legend(
        handles=[
            patches.Patch(facecolor=color, edgecolor=INK, label=kind)
            for kind, color in zip(KINDS, _COLORS, strict=True)
        ],
        loc="outside upper center", ncols=len(KINDS), frameon=False, fontsize=9,
        handlelength=1, columnspacing=1.2,
    )  # fmt: skip
    columns = [
        f"{one_line(path.name)}: {', '.join(str(start.data_offset % ALIGNMENT) for start in panel)}"
        for path, panel in zip(paths, panels, strict=True)
    ]
    alt = (
        f"The bytes around the first tensors of {len(panels)} files, {ALIGNMENT} to a row. Byte of "
        f"the row where the numbers begin, in {'; in '.join(columns)}."
    )
    return AltFigure(figure, alt)


def _draw_panel(axes, starts: Sequence[TensorStart]) -> None:
    colors = import_optional("matplotlib.colors", "alignment_figure")
    y = 0
    ticks: dict[float, int] = {}
    for start in starts:
        n_rows = len(start.kinds)
        axes.pcolormesh(
            np.arange(ALIGNMENT + 1), np.arange(y, y + n_rows + 1), start.kinds,
            cmap=colors.ListedColormap(_COLORS), vmin=-0.5, vmax=len(KINDS) - 0.5,
            edgecolors=INK, linewidth=0.4,
        )  # fmt: skip
        for i in np.flatnonzero(start.kinds == _NAME):
            row, column = divmod(int(i), ALIGNMENT)
            axes.text(
                column + 0.5, y + row + 0.52, chr(start.characters[i]), color=on(_COLORS[_NAME]),
                family="monospace", fontsize=8, ha="center", va="center",
            )  # fmt: skip
        column = start.data_offset % ALIGNMENT
        axes.plot([column, column], [y + n_rows - 1, y + n_rows], color=VERMILLION, linewidth=4)
        ticks |= {y + row + 0.5: start.first + row * ALIGNMENT for row in range(n_rows)}
        y += n_rows + 1
    axes.set_ylim(y - 1, 0)
    axes.set_xlim(-0.1, ALIGNMENT)
    axes.set_xticks(np.arange(0, ALIGNMENT, 4) + 0.5, range(0, ALIGNMENT, 4))
    axes.set_yticks(list(ticks), [f"{offset:,}" for offset in ticks.values()], fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
