"""Two processes with one file: what their page tables point to, mapped and read."""

from __future__ import annotations

from typing import Any

from llama_edu.errors import RequestError
from llama_edu.experiments.sharing import Group, Sharing
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.ink import DARK, INK, LIGHT, MIDDLE, new_figure, on
from llama_edu.show.runtime.optional import import_optional

#: Where things stand, in a panel that is 10 wide and 10 high.
_PROCESSES_X = (0.4, 5.4)
_WIDTH = 4.2
#: Height of a box as large as the file.
_FILE_HEIGHT = 1.5


def sharing_figure(result: Sharing) -> AltFigure:
    """Two processes, their page tables, the page cache and the disk; boxes as high as measured.

    Raises:
        RequestError: the result has no group of two or more processes for each way.
        LlamaEduError: matplotlib is not installed.
    """
    groups = {}
    for how in ("mmap", "read()"):
        several = [g for g in result.groups if g.how == how and g.n_processes > 1]
        if not several:
            raise RequestError(
                f"sharing_figure: no group of 2 or more processes by {how}, expected one; measure "
                f"with n_processes=(2,)"
            )
        groups[how] = min(several, key=lambda g: g.n_processes)
    figure = new_figure("sharing_figure", 8, 5.2)
    for axes, group in zip(figure.subplots(1, 2), groups.values(), strict=True):
        _draw(axes, group, result.file_bytes)
    return AltFigure(figure, _alt(groups["mmap"], groups["read()"], result.file_bytes))


def _draw(axes: Any, group: Group, file_bytes: int) -> None:
    axes.set(xlim=(0, 10), ylim=(0, 10), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(f"{'mapped' if group.how == 'mmap' else group.how}", fontsize=11)
    shares = group.private_bytes < file_bytes / 2
    cached = file_bytes if group.cached_bytes is None else group.cached_bytes
    cache_top = 1.9 + _FILE_HEIGHT * cached / file_bytes
    for number, x in enumerate(_PROCESSES_X, 1):
        _box(axes, x, 5.6, _WIDTH, 4.2, "none", "")
        axes.text(x + _WIDTH / 2, 9.35, f"process {number}", fontsize=9, ha="center")
        axes.text(x + _WIDTH / 2, 8.87, f"{_mib(group.private_bytes)} private", fontsize=9,
                  ha="center")  # fmt: skip
        cells = [x + 0.35 + i * 0.5 for i in range(7)]
        for cell in cells:
            _box(axes, cell, 8.25, 0.5, 0.5, DARK, "")
        axes.text(x + _WIDTH / 2, 8.47, "page table", fontsize=9, ha="center", va="center",
                  color=on(DARK))  # fmt: skip
        height = _FILE_HEIGHT * group.private_bytes / file_bytes
        if height > 0.1:
            _box(axes, x + 0.35, 6.0, 3.5, height, LIGHT, "a copy of its own")
        for cell in cells[::2]:
            if shares:
                _arrow(axes, (cell + 0.25, 8.2), (2.5 + (cell - x) * 1.25, cache_top + 0.05))
            else:
                _arrow(axes, (cell + 0.25, 8.2), (cell + 0.25, 6.05 + height))
        if not shares:
            _arrow(axes, (5 + (x - 2.9) * 0.5, cache_top), (x + _WIDTH / 2, 5.95), dashed=True)
    if not shares:
        axes.text(5, (cache_top + 5.6) / 2 + 0.1, "copied", fontsize=9, ha="center")
    _box(axes, 1.5, 1.9, 7, cache_top - 1.9, MIDDLE, f"page cache: {_mib(cached)} of the file")
    _box(axes, 1.5, 0.05, 7, 1.0, "none", f"disk: {_mib(file_bytes)}")
    _arrow(axes, (5, 1.1), (5, 1.85), dashed=True)
    total = cached + group.n_processes * group.private_bytes
    what = f"{group.n_processes} processes, memory in all: {_mib(total)}"
    axes.set_xlabel(f"{what}\nRss says {_mib(group.rss_bytes)} each, Pss {_mib(group.pss_bytes)}",
                    fontsize=9)  # fmt: skip


def _box(axes: Any, x: float, y: float, width: float, height: float, color: Any, text: str) -> None:
    patches = import_optional("matplotlib.patches", "sharing_figure")
    axes.add_patch(patches.Rectangle((x, y), width, height, facecolor=color, edgecolor=INK,
                                     linewidth=0.8))  # fmt: skip
    if text:
        ink = INK if color == "none" else on(color)
        axes.text(x + width / 2, y + height / 2, text, fontsize=9, ha="center", va="center",
                  color=ink)  # fmt: skip


def _arrow(
    axes: Any, start: tuple[float, float], end: tuple[float, float], *, dashed: bool = False
) -> None:
    style = {"arrowstyle": "->", "color": INK, "linewidth": 1.0,
             "linestyle": (0, (4, 2)) if dashed else "solid"}  # fmt: skip
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def _alt(mapped: Group, read: Group, file_bytes: int) -> str:
    return (
        f"Two drawings of a file of {_mib(file_bytes)} in several processes. Mapped: the page "
        f"tables of both processes point into one page cache; each has "
        f"{_mib(mapped.private_bytes)} of private memory for it. Read: each page table points to "
        f"a private copy of {_mib(read.private_bytes)}, beside the page cache. Boxes are as high "
        f"as the memory measured."
    )


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"
