"""Could the model be slimmer? Ways to leave something out, on the same axes.

"If it is not a bug, then these models could be slimmed down further?" asked the report of 2023,
which took one twelfth of the pages for all that a token needs. Here every way is measured on the
same text: bytes and pages per token, and nats lost. Pages are computed by the ledger, loss is a
paired difference with a standard error. Source: https://github.com/ggml-org/llama.cpp/pull/613
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from llama_edu.experiments.observe.subjects import model_file
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.pages.arithmetic import n_pages_of
from llama_edu.quality.losses import token_nats
from llama_edu.quants.blocks import BLOCK_TYPES
from llama_edu.slimmer.texts import Texts, texts_for
from llama_edu.slimmer.ways.cost import cost, no_feed_forward
from llama_edu.slimmer.ways.layers import Choice
from llama_edu.slimmer.ways.measured import Measured, Row, measured
from llama_edu.slimmer.ways.rows import (
    INPUT_SHARES,
    LAYERS_LEFT_OUT,
    RANK_SHARES,
    TRAP,
    Step,
    input_rows,
    layer_rows,
    low_rank_rows,
    pruning_rows,
    to_choose_by,
    type_rows,
    types_of,
    vocabulary_rows,
)
from llama_edu.table import Rows, lay_out
from llama_edu.text import visible
from llama_edu.tokenizer.text_file import read_text_file
from llama_edu.workers.opened import WeightsFile, close_opened, opened
from llama_edu.workers.pieces import MapFunction, Progress, collected

#: What was believed: a token needs this share of the file.
TWELFTH = 1 / 12


@dataclass(frozen=True)
class Slimmer(Rows):
    """One model and what can be left out of it.

    Attributes:
        file_name: of the model. stored_as: the types of its matrices. text: what was scored.
        n_tokens: that were scored. base_nats: what the unchanged model loses per token.
        page_size: bytes of a page. file_pages: of the whole file.
        base_bytes, base_pages: what one token reads of the unchanged model.
        floor_share, floor_pages: the same without any feed-forward block.
        twelfth_pages: one twelfth of the file.
        rows: the ways, grouped by kind; the first row is the unchanged model.
        layer_nats: nats lost on the calibration text for each layer left out alone; empty where it
            was not measured.
        quantized: whether the file's matrices are quantized, so that other types round twice.
        cut_short: whether it was interrupted, and rows are missing.
        elapsed_s: how long it took.
    """

    rows_of = ("rows",)

    file_name: str
    stored_as: str
    text: str
    n_tokens: int
    base_nats: float
    page_size: int
    file_pages: int
    base_bytes: int
    base_pages: int
    floor_share: float
    floor_pages: int
    twelfth_pages: int
    rows: tuple[Row, ...]
    layer_nats: tuple[float, ...]
    quantized: bool
    cut_short: bool
    elapsed_s: float

    def __str__(self) -> str:
        lines = [
            f"{visible(self.file_name)}: {self.stored_as}, {self.base_nats:.4f} nats per token "
            f"({self.n_tokens:,} tokens: {visible(self.text)})",
            f"One token reads {self.base_bytes:,} bytes on {self.base_pages:,} of "
            f"{self.file_pages:,} pages of {self.page_size:,} bytes. Losses are measured; bytes "
            f"and pages are computed, by the ledger.",
            lay_out(("way", "bytes/token", "pages/token", "nats lost", "", ""), [*self._cells()],
                    "<>>>><", "  "),
            f"Floor, attention and output alone: {self.floor_share:.3f} of the bytes, "
            f"{self.floor_pages:,} pages. One twelfth of the file, as was believed in 2023: "
            f"{self.twelfth_pages:,} pages.",
        ]  # fmt: skip
        if self.quantized:
            lines.append(
                "The file is quantized itself: what is quantized from it is rounded twice, so no "
                "ranking of types may be read from this table."
            )
        if any(row.kind == TRAP and row.nats is not None for row in self.rows):
            lines.append(
                "The trap: who keeps the ids of the scored text alone has told the model which "
                "words will not come. That is no smaller vocabulary, it is a hint."
            )
        if self.layer_nats:
            alone = " ".join(f"{n:+.3f}" for n in self.layer_nats)
            lines.append(f"Each layer left out alone, on the calibration text: {alone}")
        if self.cut_short:
            lines.append("Interrupted: the ways that were not measured yet are missing.")
        lines.append(f"({self.elapsed_s:.0f} s)")
        return "\n".join(lines)

    def _cells(self) -> Iterator[tuple[object, ...]]:
        for kind, rows in groupby(self.rows, key=lambda row: row.kind):
            yield kind, "", "", "", "", ""
            for row in rows:
                if row.nats is None or row.bytes_share is None:
                    yield f"  {row.label}", "–", "–", "–", "", row.note
                    continue
                yield (f"  {row.label}", f"{row.bytes_share:.3f}", row.n_pages, f"{row.nats:+.4f}",
                       f"± {row.standard_error:.4f}", row.note)  # fmt: skip


def slimmer(
    path: str | Path | None = None,
    *,
    text_file: str | Path | None = None,
    progress: Progress | None = None,
    map: MapFunction | None = None,
) -> Slimmer:
    """Measure every way; Ctrl+C ends it with the rows that are done.

    Args:
        path: a checkpoint in one file, or a name; None for the bundled model as f16.
        text_file: the text to score and to calibrate with; None for held-out stories, which suit
            the bundled model alone.
        progress: called with (changed models scored, all of them); with `map`, (kinds of ways done,
            kinds in all).
        map: shares the kinds of ways among processes, as Executor.map does. Each then has one
            thread, and the weights as float32 in memory.
    Raises:
        EngineError: the engine behind `map` ended; `kept` has the rows that were done.
        RequestError: a model with experts or in several files, or a text that is too short.
    """
    began = time.perf_counter()
    threads = None if map is None else 1
    with (
        model_file(path, "gguf", "f16") as file,
        load(file, kernels="numpy", arithmetic="float32", threads=threads) as llama,
    ):
        if map is None:
            found = _measure(llama, text_file, progress)
        else:
            weights = WeightsFile.at(file, kernels="numpy", threads=threads, same_bits=False)
            try:
                found = _share(llama, weights, text_file, progress, map)
            finally:
                close_opened()
    return replace(found, elapsed_s=time.perf_counter() - began)


def _measure(llama: Llama, text_file: str | Path | None, progress: Progress | None) -> Slimmer:
    base = measured(llama, texts_for(llama, text_file))
    rows: list[Row] = []
    nats: list[float] = []
    later, step = _later(base, text_file), _counting(base, progress)
    cut_short = True
    with suppress(KeyboardInterrupt):
        for kind in KINDS:
            for row in _rows(base, kind, later, step, nats):
                rows.append(row)
        cut_short = False
    return _result(base, rows, nats, cut_short)


@dataclass(frozen=True, eq=False)
class _KindPiece:
    """One kind of ways. nats: what the unchanged model loses, (n_tokens,) float64."""

    file: WeightsFile
    texts: Texts
    nats: np.ndarray
    later: tuple[int, ...]
    kind: str


def _share(
    llama: Llama,
    file: WeightsFile,
    text_file: str | Path | None,
    progress: Progress | None,
    map: MapFunction,
) -> Slimmer:
    began = time.perf_counter()
    base = measured(llama, texts_for(llama, text_file))
    later = tuple(_later(base, text_file))
    pieces = [_KindPiece(file, base.texts, base.nats, later, kind) for kind in KINDS]
    done = collected(_rows_of_kind, pieces, map, progress)
    rows = [row for found, _ in done.results for row in found]
    nats = [loss for _, found in done.results for loss in found]
    result = _result(base, rows, nats, done.cut_short)
    done.raise_with(replace(result, elapsed_s=time.perf_counter() - began))
    return result


def _rows_of_kind(piece: _KindPiece) -> tuple[list[Row], list[float]]:
    """The rows of a kind, and what each layer alone loses where the kind is that of layers."""
    with opened(piece.file) as found:
        base = found.once("measured", lambda llama: measured(llama, piece.texts, piece.nats))
        nats: list[float] = []
        rows = list(_rows(base, piece.kind, piece.later, lambda n_tokens: None, nats))
    return rows, nats


def _result(
    base: Measured, rows: Sequence[Row], layer_nats: Sequence[float], cut_short: bool
) -> Slimmer:
    floor = cost(base.stored, base.tensors, base.token, ffn=no_feed_forward)
    types = dict.fromkeys(spec.type for spec in base.tensors.values() if len(spec.shape) == 2)
    path = base.llama.checkpoint.paths[0]
    file_pages = n_pages_of(path.stat().st_size, mmap.PAGESIZE)
    return Slimmer(
        file_name=path.name,
        stored_as=", ".join(types),
        text=base.texts.source,
        n_tokens=len(base.nats),
        base_nats=float(base.nats.mean()),
        page_size=mmap.PAGESIZE,
        file_pages=file_pages,
        base_bytes=base.cost.n_bytes,
        base_pages=base.cost.n_pages,
        floor_share=floor.n_bytes / base.cost.n_bytes,
        floor_pages=floor.n_pages,
        twelfth_pages=round(file_pages * TWELFTH),
        rows=(base.row("unchanged", "as it is", None, base.nats), *rows),
        layer_nats=tuple(layer_nats),
        quantized=any(BLOCK_TYPES[name].is_quantized for name in types),
        cut_short=cut_short,
        elapsed_s=0,
    )


#: The kinds of ways, those that take longest last.
KINDS = ("types", "pruning", "low rank", "vocabulary", "inputs", "layers")


def _rows(
    base: Measured, kind: str, later: Sequence[int], step: Step, layer_nats: list[float]
) -> Iterator[Row]:
    """The rows of one kind; those of layers add to `layer_nats` what each layer alone loses."""

    def seen(choice: Choice) -> None:
        if not layer_nats:
            before = token_nats(base.model, to_choose_by(base.texts.calibration)).mean()
            layer_nats.extend(float(nats - before) for nats in choice.nats.values())

    ways: dict[str, Callable[[], Iterator[Row]]] = {
        "types": lambda: type_rows(base, step),
        "pruning": lambda: pruning_rows(base, step),
        "low rank": lambda: low_rank_rows(base, step),
        "vocabulary": lambda: vocabulary_rows(base, later, step),
        "inputs": lambda: input_rows(base, step),
        "layers": lambda: layer_rows(base, step, seen),
    }
    return ways[kind]()


def _counting(base: Measured, progress: Progress | None) -> Step:
    """A counter of changed models; how many there will be is nearly known before."""
    n_layers, n_types = base.model.config.n_layers, len(types_of(base))
    choices = [n_layers - i for i in range(min(LAYERS_LEFT_OUT, n_layers - 1))]
    total = n_types + 2 + len(RANK_SHARES) + 3 + len(INPUT_SHARES) + len(choices) + sum(choices)
    done = 0

    def step(n_tokens: int) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(min(done, total), total)

    return step


def _later(base: Measured, text_file: str | Path | None) -> list[int]:
    """Ids of a text that is not scored: what follows the scored windows in the file."""
    if text_file is None:
        return [token for text in base.texts.calibration for token in text]
    tokenizer = base.llama.tokenizer
    n_starts = len(base.texts.scored) if tokenizer.adds_bos else 0
    n_scored = sum(map(len, base.texts.scored)) - n_starts
    return tokenizer.encode(read_text_file(text_file), bos=False)[n_scored:]
