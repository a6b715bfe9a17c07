"""Bugs are planted on purpose: which are found at their first step, and which do cheap checks miss?

The detective is calibrated on bugs whose place is known before its silence is believed. Beside each
bug stand the checks that people make instead of comparing steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.bundled import bundled_checkpoint
from llama_edu.experiments.reconcile import text_tokens
from llama_edu.loading import load
from llama_edu.reconcile.bugs import BUGS
from llama_edu.reconcile.cheap_checks import MEANINGS, cheap_checks
from llama_edu.reconcile.detective import ALARM, reconcile
from llama_edu.reconcile.reference import float64_reference
from llama_edu.reconcile.trace import trace
from llama_edu.table import Rows, lay_out
from llama_edu.text import visible
from llama_edu.workers.opened import WeightsFile, close_opened, opened
from llama_edu.workers.pieces import MapFunction, Progress, collected


@dataclass(frozen=True)
class SeededBug(Rows):
    """One planted bug.

    Attributes:
        first: where it was planted. found: the first wrong step, None for none.
        ratio: its error over that of float32. hidden_from: the cheap checks that it passes.
    """

    also = ("where",)

    name: str
    breaks: str
    first: str
    found: str | None
    ratio: float
    hidden_from: tuple[str, ...]

    @property
    def where(self) -> str:
        """A cell of the table: "yes", or the step that was named instead of its first."""
        return "yes" if self.found == self.first else self.found or "changes nothing"


@dataclass(frozen=True)
class SeededBugs(Rows):
    """All bugs, and the model without one.

    Attributes:
        clean_ratio: the largest ratio of the model without a bug; the alarm is at 30.
        cut_short: whether bugs are missing, by Ctrl+C or because the workers ended.
    """

    rows_of = ("bugs",)

    subject: str
    n_tokens: int
    clean_ratio: float
    bugs: tuple[SeededBug, ...]
    cut_short: bool = False

    def __str__(self) -> str:
        n_found = sum(bug.found == bug.first for bug in self.bugs)
        rows = [
            (bug.name, bug.first, bug.where, f"{bug.ratio:,.0f}",
             ", ".join(bug.hidden_from) or "none")
            for bug in self.bugs
        ]  # fmt: skip
        heads = ("bug", "planted at", "found there", "ratio", "not seen by")
        return "\n".join(
            [
                f"{visible(self.subject)}, {self.n_tokens} tokens: {n_found} of {len(self.bugs)} "
                f"bugs found at their first step",
                lay_out(heads, rows, "<<<><", "  "),
                f"  ratio: error over that of float32; without a bug at most "
                f"{self.clean_ratio:.1f}, alarm at {ALARM:g}",
                *(f"  {name}: {meaning}" for name, meaning in MEANINGS.items()),
                *(["Cut short: the other bugs were not planted."] * self.cut_short),
            ]
        )


def seeded_bugs(
    path: str | Path | None = None,
    *,
    progress: Progress | None = None,
    map: MapFunction | None = None,
) -> SeededBugs:
    """Plant each bug in the reader's model or the bundled one, and look for it.

    Args:
        progress: called with (bugs planted, bugs in all).
        map: shares the bugs among processes, as Executor.map does; each then has one thread.
    Raises:
        EngineError: the engine behind `map` ended; `kept` has the bugs that were done.
    """
    file = Path(path) if path is not None else bundled_checkpoint()
    threads = None if map is None else 1
    weights = WeightsFile.at(file, kernels="numpy", threads=threads, same_bits=False)
    with load(file, kernels="numpy", arithmetic="float32", threads=threads) as llama:
        tokens = tuple(text_tokens(llama))
        reference = float64_reference(llama.model, tokens)
        clean = reconcile(trace(llama.model, tokens), tokens, reference)
    largest = float(np.max([step.ratios.max() for step in clean.steps]))  # unlike max, it keeps NaN
    try:
        pieces = [_BugPiece(weights, tokens, name) for name in BUGS]
        done = collected(_plant, pieces, map, progress)
    finally:
        close_opened()
    found = SeededBugs(file.name, len(tokens), largest, tuple(done.results), done.cut_short)
    done.raise_with(found)
    return found


@dataclass(frozen=True)
class _BugPiece:
    """A bug, by its name, and the text that is computed with it."""

    file: WeightsFile
    tokens: tuple[int, ...]
    bug: str


def _plant(piece: _BugPiece) -> SeededBug:
    bug, tokens = BUGS[piece.bug], piece.tokens
    with opened(piece.file) as found:
        model = found.llama.model
        reference = found.once("reference", lambda _: float64_reference(model, tokens))
        planted = bug.plant(model)
        first = reconcile(trace(planted.model, tokens, tap=planted.tap), tokens, reference).first
        checks = cheap_checks(model, planted, tokens)
    return SeededBug(
        bug.name, bug.breaks, planted.first, None if first is None else first.name,
        0.0 if first is None else float(first.ratios.max()),
        tuple(name for name, passes in checks.items() if passes),
    )  # fmt: skip
