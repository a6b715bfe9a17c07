"""TensorPages: marked pages of a file, listed by tensor, by layer or by kind of tensor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from llama_edu.files.layout import TensorSpec
from llama_edu.html import escaped
from llama_edu.pages.arithmetic import bytes_in_pages, pages_of, range_bytes_in_pages
from llama_edu.pages.ranges import own_ranges
from llama_edu.table import Rows, lay_out, percent

_LAYER = re.compile(r"layers\.(\d+)\.(.+)")
_EXPERT = re.compile(r"layers\.(\d+)\.experts\.(\d+)\.(.+)")

#: Name of the row for pages that hold no byte of any tensor.
REST = "(rest of the file)"

#: The largest number of rows shown before tensors are grouped by kind.
_MOST_ROWS = 24


def layer_of(name: str) -> str:
    """The layer that a tensor belongs to, "layer 3"; its own name if it is in no layer."""
    found = _LAYER.match(name)
    return f"layer {found[1]}" if found else name


def band_of(name: str) -> str:
    """As layer_of(), with the experts of a layer apart from it: "layer 3, expert 5"."""
    expert = expert_of(name)
    return layer_of(name) if expert is None else f"{layer_of(name)}, expert {expert}"


def in_bands(names: Iterable[str]) -> list[str]:
    """The bands of some tensors in the order of their layers, each layer before its experts."""
    names = list(names)
    layers = {layer: place for place, layer in enumerate(dict.fromkeys(map(layer_of, names)))}
    places: dict[str, tuple[int, int]] = {}
    for name in names:
        expert = expert_of(name)
        places[band_of(name)] = layers[layer_of(name)], -1 if expert is None else expert
    return sorted(places, key=lambda band: places[band])


def expert_of(name: str) -> int | None:
    """The number of the expert that a tensor belongs to in its layer, or None."""
    found = _EXPERT.match(name)
    return int(found[2]) if found else None


def n_experts_of(tensors: Iterable[str]) -> int:
    """How many experts a layer has, from the names of the tensors; 0 for a dense model."""
    return 1 + max((e for e in map(expert_of, tensors) if e is not None), default=-1)


def experts_read(names: Iterable[str]) -> tuple[tuple[int, ...], ...]:
    """For each layer the experts of which a tensor is among these names, ascending.

    Empty where none is; a layer between two others that has none gets an empty tuple.
    """
    read: dict[int, set[int]] = {}
    for name in names:
        if found := _EXPERT.match(name):
            read.setdefault(int(found[1]), set()).add(int(found[2]))
    return tuple(tuple(sorted(read.get(layer, ()))) for layer in range(max(read, default=-1) + 1))


def kind_of(name: str) -> str:
    """The kind of a tensor, "layers.*.wq" in every layer; its own name if it is in no layer.

    The matrices of all experts are of one kind, "layers.*.experts.*.w_up".
    """
    if expert := _EXPERT.match(name):
        return f"layers.*.experts.*.{expert[3]}"
    found = _LAYER.match(name)
    return f"layers.*.{found[2]}" if found else name


@dataclass(frozen=True)
class Row(Rows):
    """One tensor, or a group of tensors.

    Attributes:
        name: of the tensor or group.
        n_pages: pages that contain at least one byte of it.
        n_touched: how many of those are marked. Two neighbors on one page both count it.
        n_bytes: its bytes in the file.
        touched_bytes: how many of those are in marked pages.
    """

    also = ("fraction",)

    name: str
    n_pages: int
    n_touched: int
    n_bytes: int
    touched_bytes: int

    @property
    def fraction(self) -> float:
        """Marked pages over pages; 0.0 for a tensor without pages."""
        return self.n_touched / self.n_pages if self.n_pages else 0.0


@dataclass(frozen=True)
class TensorPages(Rows):
    """Marked pages of one file, and the tensors in it.

    Attributes:
        tensors: name -> TensorSpec, all in this file.
        pages: (n_pages,) bool, which pages are marked.
    """

    tensors: Mapping[str, TensorSpec]
    file_bytes: int
    page_size: int
    pages: np.ndarray

    def by_tensor(self) -> list[Row]:
        """One row per tensor in file order, then REST: header, vocabulary, padding."""
        rows = self._grouped(lambda name: name)
        outside = ~self._extent(self.tensors.values())
        if outside.any():
            touched = outside & self.pages
            n_bytes = self.file_bytes - sum(row.n_bytes for row in rows)
            touched_bytes = bytes_in_pages(0, self.file_bytes, touched, self.page_size)
            rows.append(Row(REST, int(outside.sum()), int(touched.sum()), n_bytes, touched_bytes))
        return rows

    def by_layer(self) -> list[Row]:
        """One row per layer, and one for each tensor outside the layers, in file order."""
        return self._grouped(layer_of)

    def by_band(self) -> list[Row]:
        """As by_layer(), each layer without its experts, and a row for each of these behind it."""
        rows = {row.name: row for row in self._grouped(band_of)}
        ordered = sorted(self.tensors.values(), key=lambda spec: spec.offset)
        return [rows[band] for band in in_bands(spec.name for spec in ordered)]

    def by_kind(self) -> list[Row]:
        """One row per kind of tensor, all layers together: "layers.*.wq" and so on."""
        return self._grouped(kind_of)

    def extent(self, name: str) -> np.ndarray:
        """(n_pages,) bool: pages that hold a byte of the tensor, layer or kind of this name."""
        return self._extent(
            spec
            for spec in self.tensors.values()
            if name in (spec.name, layer_of(spec.name), kind_of(spec.name))
        )

    def band_extent(self, band: str) -> np.ndarray:
        """(n_pages,) bool: pages that hold a byte of the band of this name, see by_band()."""
        return self._extent(spec for spec in self.tensors.values() if band_of(spec.name) == band)

    def shown_rows(self) -> list[Row]:
        """The rows to show: tensors for a small file, kinds for a large one; then the total."""
        rows = self.by_tensor()
        if len(rows) > _MOST_ROWS:
            rows = self.by_kind() + [row for row in rows if row.name == REST]
        total = Row("total", len(self.pages), int(self.pages.sum()), self.file_bytes,
                    bytes_in_pages(0, self.file_bytes, self.pages, self.page_size))  # fmt: skip
        return [*rows, total]

    def to_rows(self) -> list[dict[str, object]]:
        """One row per tensor, and one for what is outside of them."""
        return [columns for row in self.by_tensor() for columns in row.to_rows()]

    def __str__(self) -> str:
        rows = [(row.name, row.n_pages, row.n_touched, percent(row.fraction), row.touched_bytes)
                for row in self.shown_rows()]  # fmt: skip
        return lay_out(("", "pages", "touched", "%", "bytes"), rows)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{escaped(row.name)}</td>"
            f"<td>{row.n_pages:,}</td><td>{row.n_touched:,}</td><td>{row.fraction:.1%}</td>"
            f"<td>{row.touched_bytes:,}</td></tr>"
            for row in self.shown_rows()
        )
        head = "<tr><th></th><th>pages</th><th>touched</th><th>%</th><th>bytes touched</th></tr>"
        return f"<table>{head}{rows}</table>"

    def _grouped(self, key: Callable[[str], str]) -> list[Row]:
        groups: dict[str, list[TensorSpec]] = {}
        for spec in sorted(self.tensors.values(), key=lambda spec: spec.offset):
            groups.setdefault(key(spec.name), []).append(spec)
        return [self._row(name, specs) for name, specs in groups.items()]

    def _row(self, name: str, specs: list[TensorSpec]) -> Row:
        pages = self._extent(specs)
        return Row(
            name,
            int(pages.sum()),
            int((pages & self.pages).sum()),
            sum(spec.own_bytes for spec in specs),
            sum(
                range_bytes_in_pages(own_ranges(spec), self.pages, self.page_size) for spec in specs
            ),
        )

    def _extent(self, specs: Iterable[TensorSpec]) -> np.ndarray:
        ranges = [np.empty((0, 2), np.int64), *map(own_ranges, specs)]
        return pages_of(np.concatenate(ranges), len(self.pages), self.page_size)
