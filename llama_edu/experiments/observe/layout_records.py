"""What `experiment neurons-and-pages` finds, layout by share of neurons skipped, and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llama_edu.experiments.observe.kept_neurons import Agreement
from llama_edu.files.layout import LayoutName
from llama_edu.quality.losses import Loss
from llama_edu.slimmer.llama_sizes import SizeOnPages
from llama_edu.table import Rows, lay_out
from llama_edu.text import visible

_WORDS: dict[LayoutName, str] = {
    "rows": "as in every file today",
    "down-transposed": "w_down transposed",
    "side-by-side": "gate, up and down of a neuron side by side",
}

#: Unions of more tokens are in the JSON alone.
_LONGEST_UNION = 64

#: What the report of 2023 was taken to say.
_TWELFTH = 1 / 12


@dataclass(frozen=True)
class Skipped(Rows):
    """What it loses to leave out the smallest neurons of each token, told by an oracle.

    `left_out_fraction` is what was left out of the scored text, where `share` was asked for.
    """

    share: float
    left_out_fraction: float
    loss: Loss


@dataclass(frozen=True)
class LayoutPages(Rows):
    """What tokens need of one file.

    Attributes:
        layout: see LayoutName. hot_first: whether the hidden neurons are in that order.
        down_type: the type of w_down in it. n_pages: of the file.
        floor_fraction: of the file's pages: what a token needs that keeps no neuron.
        fractions: of the file's pages that a token needs, mean of the scored text, by share.
        unions: for each share: number of neighboring tokens -> the fraction they need together.
        rounding: what this file loses against the first, with all neurons; None where its numbers
            are the same.
        agreement: how often measured and computed pages were the same.
    """

    layout: LayoutName
    hot_first: bool
    down_type: str
    n_pages: int
    floor_fraction: float
    fractions: tuple[float, ...]
    unions: tuple[dict[int, float], ...]
    rounding: Loss | None
    agreement: Agreement


@dataclass(frozen=True)
class PageWise(Rows):
    """All neurons of a page skipped together, by their joint size; `fraction` is of the pages."""

    layout: LayoutName
    mean_neurons: float
    share: float
    left_out_fraction: float
    loss: Loss
    fraction: float


@dataclass(frozen=True)
class NeuronsAndPages(Rows):
    """Layout by share skipped: pages and losses.

    Attributes:
        source: where the texts are from. n_calibration, n_scored: their tokens.
        base_nats: of the whole model, per token.
        skipped: by share. layouts: of files of this model. page_wise: of those in another layout.
        sizes: LLaMAs of 2023, by arithmetic alone.
        cut_short: whether it was interrupted; what was not measured is missing.
    """

    rows_of = ("skipped", "layouts", "page_wise", "sizes")

    subject: str
    source: str
    n_calibration: int
    n_scored: int
    base_nats: float
    page_size: int
    shares: tuple[float, ...]
    skipped: tuple[Skipped, ...]
    layouts: tuple[LayoutPages, ...]
    page_wise: tuple[PageWise, ...]
    sizes: tuple[SizeOnPages, ...]
    cut_short: bool

    def __str__(self) -> str:
        return _table(self)


def _table(found: NeuronsAndPages) -> str:
    """The whole answer as text."""
    shares = [f"{share * 100:g} %" for share in found.shares]
    lines = [
        f"{visible(found.subject)}: {found.base_nats:.4f} nats per token, {found.n_scored:,} "
        f"tokens scored, pages of {found.page_size:,} bytes",
        found.source,
        f"The smallest neurons of each token are left out, told by an oracle, which no program "
        f"has; thresholds are from another text ({found.n_calibration:,} tokens).",
    ]
    if found.skipped:
        lost = [str(s.loss) for s in found.skipped]
        left = [f"{s.left_out_fraction:.1%}" for s in found.skipped]
        heads = ("share of neurons skipped", *shares[: len(lost)])
        rows = [("really left out", *left), ("nats lost per token, ± its standard error", *lost)]
        lines += ["", lay_out(heads, rows, "<>", "  ")]
    if found.layouts:
        lines += ["", "Share of the file's pages that one token needs, mean of all scored tokens:"]
        of_files: list[tuple[object, ...]] = [
            (layout_words(of), *(f"{f:.3f}" for f in of.fractions), f"{of.floor_fraction:.3f}",
             f"{of.n_pages:,}", None if of.rounding is None else str(of.rounding))
            for of in found.layouts
        ]  # fmt: skip
        heads = ("layout", *shares, "all", "pages of the file", "lost by rounding w_down again")
        lines += [lay_out(heads, of_files, "<>", "  "), *_agreement(found), *_unions(found, shares)]
    lines += _page_wise(found, shares)
    lines += _sizes(found, shares)
    if found.cut_short:
        lines += ["", "Interrupted: what is missing above was not measured."]
    return "\n".join(lines)


def layout_words(of: LayoutPages) -> str:
    """A layout in words: how the weights lie, whether hot neurons come first, a type made again."""
    hot = ", hot neurons first" if of.hot_first else ""
    rounded = f", w_down as {of.down_type}" if of.rounding else ""
    return f"{_WORDS[of.layout]}{hot}{rounded}"


def _agreement(found: NeuronsAndPages) -> list[str]:
    n = sum(of.agreement.n_tokens for of in found.layouts)
    n_equal = sum(of.agreement.n_equal for of in found.layouts)
    kinds = sorted({of.agreement.verdict for of in found.layouts})
    if "computed, not measured" in kinds or "counts only" in kinds:
        return ["  Computed: there is no instrument here that could measure them."]
    return [
        f"  Computed from the masks. {n:,} tokens were computed with their kept neurons alone, "
        f"under an instrument: of {n_equal:,} the pages touched are",
        f"  the pages predicted, as sets. Verdict: {', '.join(kinds)}.",
    ]


def _unions(found: NeuronsAndPages, shares: Sequence[str]) -> list[str]:
    lengths = [n for n in found.layouts[0].unions[-1] if n <= _LONGEST_UNION]
    rows = [
        (layout_words(of), *(f"{of.unions[-1][n]:.3f}" for n in lengths if n in of.unions[-1]))
        for of in found.layouts
    ]
    heads = (f"{shares[-1]} skipped, tokens one after the other", *map(str, lengths))
    return ["", "Over a text: the share of the pages that neighboring tokens need together:",
            lay_out(heads, rows, "<>", "  ")]  # fmt: skip


def _page_wise(found: NeuronsAndPages, shares: Sequence[str]) -> list[str]:
    if not found.page_wise:
        return []
    rows = []
    for layout in dict.fromkeys(of.layout for of in found.page_wise):
        of_layout = [of for of in found.page_wise if of.layout == layout]
        what = f"{_WORDS[layout]}: pages of {of_layout[0].mean_neurons:.1f} neurons"
        rows.append((f"{what}, share of the file", *(f"{of.fraction:.3f}" for of in of_layout)))
        rows.append(("  nats lost", *(str(of.loss) for of in of_layout)))
    heads = ("share skipped", *shares)
    return ["", "Whole pages skipped, all neurons of a page by their joint size (hot ones first):",
            lay_out(heads, rows, "<>", "  ")]  # fmt: skip


def _sizes(found: NeuronsAndPages, shares: Sequence[str]) -> list[str]:
    rows = [
        (f"LLaMA {size.name} {size.type}", f"{size.floor_fraction:.3f}",
         *(" / ".join(f"{f:.2f}" for f in fractions) for fractions in size.fractions.values()))
        for size in found.sizes
    ]  # fmt: skip
    heads = ("by arithmetic, nothing measured", "floor", "today", "w_down transposed",
             "side by side")  # fmt: skip
    return [
        "",
        f"LLaMAs of 2023, {' / '.join(shares)} of the neurons skipped, each by chance alone:",
        lay_out(heads, rows, "<>", "  "),
        f"  The floor is attention and output, which every token needs: no skipping of neurons "
        f"comes below it. One twelfth would be {_TWELFTH:.3f}.",
    ]
