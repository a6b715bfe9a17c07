"""Is this file as good as that one, on this text, and how sure is that?"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.llama import Llama
from llama_edu.matmul.arithmetic import ArithmeticChoice
from llama_edu.matmul.choice import Kernels
from llama_edu.quality.estimate import Estimate, estimate, token_error
from llama_edu.quality.scores import WindowPiece, WindowScores, score_window
from llama_edu.quality.vocabularies import check_same_vocabulary
from llama_edu.quality.windows import CONTEXT, Way, Window, described, windows_of
from llama_edu.stated import Stated
from llama_edu.table import Rows, lay_out
from llama_edu.text import visible
from llama_edu.workers.opened import WeightsFile, close_opened, opened
from llama_edu.workers.pieces import MapFunction, Progress, collected

#: A difference of fewer standard errors than this is what chance alone gives.
_SURE = 2


@dataclass(frozen=True)
class Difference(Rows):
    """What a file loses beside the base, on the same tokens.

    Attributes:
        loss: nats per token that it loses more; negative is a gain. In pairs, token by token.
        kl: nats per token, KL divergence of its probabilities from the base's.
        kl_median, kl_90, kl_99, kl_largest: of single positions: half, nine in ten, 99 in a hundred
            and all of them have no more.
        same_first: the share of positions whose likeliest token is the base's.
    """

    loss: Estimate
    kl: Estimate
    kl_median: float
    kl_90: float
    kl_99: float
    kl_largest: float
    same_first: Estimate


@dataclass(frozen=True)
class FileQuality(Rows):
    """One file on the text.

    Attributes:
        nats: per token, with its standard error over windows.
        token_error: the same error with tokens taken as independent, as llama.cpp prints it.
        difference: from the base; None for the base itself.
    """

    also = ("perplexity",)

    name: str
    nats: Estimate
    token_error: float | None
    difference: Difference | None

    @property
    def perplexity(self) -> float:
        """exp(nats per token): the number of equally likely tokens with the same uncertainty."""
        return _exp(self.nats.mean)

    @property
    def sentence(self) -> str:
        """What the difference from the base means; for the base, its loss."""
        name, found = visible(self.name), self.difference
        if found is None:
            return f"{name}: {self.nats.shown(4)} nats per token, perplexity {self.perplexity:.3f}"
        first = f"{found.same_first.mean:.1%} same first choice"
        if found.kl_largest == 0 and found.loss.mean == 0:
            return f"{name} computes the same probabilities; {first}"
        digits = _digits(found.loss)
        verb = "gains" if found.loss.mean < 0 else "loses"
        shown = Estimate(abs(found.loss.mean), found.loss.error).shown(digits)
        error = found.loss.error
        unsure = error is not None and not abs(found.loss.mean) >= _SURE * error
        chance = ", no more than chance gives" if unsure else ""
        return f"{name} {verb} {shown} nats per token{chance}; {first}"


@dataclass(frozen=True)
class Judgement(Rows):
    """One text scored by one file or by several.

    Attributes:
        text: what was scored. files: the base first.
        n_tokens: that were scored. n_windows: that they come from; n_planned: that there are.
        context: positions of a window. windows: how the text was cut, as a sentence.
        arithmetic: what the products were, for each file where they differ.
        cut_short: whether windows are missing, by Ctrl+C or because the workers ended.
    """

    rows_of = ("files",)

    text: str
    files: tuple[FileQuality, ...]
    n_tokens: int
    n_windows: int
    n_planned: int
    context: int
    windows: str
    arithmetic: str
    cut_short: bool = False

    def __str__(self) -> str:
        base, *others = self.files
        lines = [
            f"{visible(self.text)}: {self.n_tokens:,} tokens scored, {visible(self.arithmetic)} "
            f"arithmetic",
            f"({self.windows})",
        ]
        if others:
            lines += [self._table(), *(other.sentence for other in others)]
            lines.append(
                f"Loss and KL divergence in nats per token, from {visible(base.name)}; ± is the "
                f"standard error over windows."
            )
        else:
            lines.insert(0, base.sentence)
            if base.nats.error is not None:
                lines.append("± is the standard error over windows.")
        if base.nats.error is None:
            lines.append("One window alone has no standard error: give a longer text.")
        if self.cut_short:
            lines.append(
                f"Cut short: {self.n_windows} of {self.n_planned} windows were done, and are what "
                f"stands here."
            )
        return "\n".join(lines)

    def _table(self) -> str:
        rows: list[tuple[str | None, ...]] = []
        for file in self.files:
            own = (file.name, file.nats.shown(4), f"{file.perplexity:.3f}")
            found = file.difference
            if found is None:
                rows.append((*own, *[None] * 7))
                continue
            digits = _digits(found.loss)
            sign = "-" if found.loss.mean < 0 else "+"
            loss = Estimate(abs(found.loss.mean), found.loss.error).shown(digits)
            first = found.same_first
            spread = "" if first.error is None else f" ± {100 * first.error:.1f}"
            rows.append(
                (*own, f"{sign}{loss}", found.kl.shown(_digits(found.kl)),
                 f"{found.kl_median:.1e}", f"{found.kl_90:.1e}", f"{found.kl_99:.1e}",
                 f"{found.kl_largest:.1e}", f"{100 * first.mean:.1f}{spread}")
            )  # fmt: skip
        heads = ("file", "nats per token", "perplexity", "loses", "KL", "median", "90 %", "99 %",
                 "largest", "same first, %")  # fmt: skip
        return lay_out(heads, rows, "<>", "  ")


def judge(
    path: str | os.PathLike[str],
    *others: str | os.PathLike[str],
    text: str,
    name: str = "text",
    context: int | None = None,
    stride: int | None = None,
    windows: Way = "ours",
    at_most: int | None = None,
    map: MapFunction | None = None,
    progress: Progress | None = None,
    tokenizer: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    kernels: Kernels = "auto",
    arithmetic: ArithmeticChoice = "float32",
    stated: Stated | None = None,
    mmap: bool = True,
) -> Judgement:
    """Score a text with a file, and with others beside it.

    After Ctrl+C it returns what the windows that are done say, `cut_short`.

    Args:
        path, others: weight files, folders or names, of one vocabulary. `path` is the base, which
            the others are compared with.
        text: what is scored. name: what it is called.
        context: positions of a window; None takes 512, or what the models can hold.
        stride, windows: see windows.py.
        at_most: take the first windows alone, so many.
        map: shares the windows: Executor.map, or a function with its contract. None works in this
            process. The result does not depend on it, bit for bit.
        progress: called with (windows done, windows in all).
        tokenizer ... mmap: of load(). threads is for each process; None is all cores without
            `map`, and 1 with it. With numpy's kernels it is 1.
    Raises:
        RequestError: another vocabulary, which is said; a text or context that is too short; a map
            that is none.
        FileReplacedError: a file is another one than when this began.
        EngineError: the engine behind `map` ended; `kept` has the Judgement of what was done.
        NumericalError: scores of a file are NaN or infinite.
    """
    if threads is None and map is not None:
        threads = 1
    files = tuple(
        WeightsFile.at(
            file, tokenizer=tokenizer, threads=threads, kernels=kernels, arithmetic=arithmetic,
            stated=stated, mmap=mmap,
        )
        for file in (path, *others)
    )  # fmt: skip
    try:
        plan = _planned(files, text, context, stride, windows)
        if at_most is not None:
            if at_most < 1:
                raise RequestError(f"at_most is {at_most}, expected 1 window or more")
            plan = plan[:at_most]
        with opened(files[0]) as base:
            llama = base.llama
            bos = llama.tokenizer.adds_bos
            size = _context(context, [llama])
        pieces = [WindowPiece(files, window) for window in plan]
        done = collected(score_window, pieces, map, progress)
        names = _names_apart(files)
        settled = _arithmetic(files, names)
        found = tuple(_of_file(number, names, done.results) for number in range(len(files)))
        result = Judgement(
            name, found, sum(len(scores.nats[0]) for scores in done.results), len(done.results),
            len(plan), size, described(plan, bos, size, windows), settled, done.cut_short,
        )  # fmt: skip
        done.raise_with(result)
        return result
    finally:
        close_opened()


def _planned(
    files: Sequence[WeightsFile], text: str, context: int | None, stride: int | None, way: Way
) -> list[Window]:
    """The windows; every file is opened for it, and has the first one's vocabulary."""
    with opened(files[0]) as first:
        llamas = [first.llama]
        for file in files[1:]:
            with opened(file) as other:
                check_same_vocabulary(first.llama, other.llama, text)
                llamas.append(other.llama)
        tokenizer = first.llama.tokenizer
        tokens = tokenizer.encode(text, bos=False)
        bos_id = tokenizer.bos_id if tokenizer.adds_bos else None
        return windows_of(tokens, bos_id, _context(context, llamas), stride, way)


def _context(context: int | None, llamas: Sequence[Llama]) -> int:
    most = min(llama.config.max_seq_len for llama in llamas)
    if context is None:
        return min(CONTEXT, most)
    if not 2 <= context <= most:
        raise RequestError(f"context is {context}, expected 2 to {most}, what the models can hold")
    return context


def _arithmetic(files: Sequence[WeightsFile], names: Sequence[str]) -> str:
    """What the products are; of each file, where "auto" is not the same for all."""
    found = []
    for file in files:
        with opened(file) as one:
            found.append(one.llama.arithmetic)
    if len(set(found)) == 1:
        return found[0]
    return ", ".join(f"{name}: {each}" for name, each in zip(names, found, strict=True))


def _names_apart(files: Sequence[WeightsFile]) -> list[str]:
    """The names of the files; their paths where two have one name."""
    names = [file.name for file in files]
    return [f.path if names.count(f.name) > 1 else f.name for f in files]


def _of_file(number: int, names: Sequence[str], windows: Sequence[WindowScores]) -> FileQuality:
    nats = [window.nats[number] for window in windows]
    difference = None
    if number:
        kl = [window.kl[number - 1] for window in windows]
        half, nine, most, largest = np.quantile(np.concatenate(kl), (0.5, 0.9, 0.99, 1)).tolist()
        difference = Difference(
            estimate([window.nats[number] - window.nats[0] for window in windows]),
            estimate(kl), half, nine, most, largest,
            estimate([window.same[number - 1] for window in windows]),
        )  # fmt: skip
    return FileQuality(names[number], estimate(nats), token_error(nats), difference)


def _digits(found: Estimate) -> int:
    """Decimals that show two digits of the error; without one, four."""
    if found.error is None or not found.error > 0:
        return 4
    return min(8, max(3, 1 - math.floor(math.log10(found.error))))


def _exp(nats: float) -> float:
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf
