"""A mixture of experts: the one kind of network of which a token really needs only a part.

In each layer a router chooses a few networks of several for each token (Jiang et al., arXiv
2401.04088), and only those are read. What a token needs is measured; what neighboring tokens need
together grows quickly, because they choose other experts, so a text needs the whole file. The loss
is compared with that of a dense model on the same tokens.
"""

from __future__ import annotations

import mmap
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llama_edu.bundled import bundled_checkpoint
from llama_edu.errors import RequestError
from llama_edu.experiments.observe.expert_runs import (
    MeasuredRun,
    dense_unions,
    one_by_one,
    together,
)
from llama_edu.experiments.observe.subjects import model_file
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.models import locate
from llama_edu.pages.lab import PageLab
from llama_edu.quality.losses import Loss, paired_loss, token_nats
from llama_edu.slimmer.expert_pages import ExpertPages, check_mixture
from llama_edu.slimmer.expert_use import (
    RouterWatch,
    shared_by_chance,
    shared_fractions,
    use_fractions,
)
from llama_edu.slimmer.mixtral_size import MIXTRAL_8X7B, token_share
from llama_edu.slimmer.texts import Texts, texts_for
from llama_edu.table import Rows, lay_out
from llama_edu.text import visible
from llama_edu.transformer.experts import Choices

#: The longest run of neighboring tokens whose pages are counted together.
LONGEST = 32

#: With more experts than this, a layer's row has the least and the most used one alone.
_MOST_COLUMNS = 16


@dataclass(frozen=True)
class ExpertUnion(Rows):
    """What a run of neighboring tokens needs together; means over the runs of the scored text.

    Attributes:
        file_fraction: of the pages of the file. expert_fraction: of those with a byte of an expert.
    """

    n_tokens: int
    file_fraction: float
    expert_fraction: float


@dataclass(frozen=True)
class DenseModel(Rows):
    """A dense model on the same tokens.

    Attributes:
        nats: lost per token. difference: what the mixture loses more, in pairs.
        unions: number of neighboring tokens -> the fraction of its file's pages that they need
            together, by arithmetic; empty for a model in several files.
    """

    subject: str
    nats: float
    difference: Loss
    unions: dict[int, float]


@dataclass(frozen=True)
class Experts(Rows):
    """What tokens need of a mixture of experts.

    Attributes:
        source: where the text is from. n_scored: its tokens. nats: lost per token.
        n_pages: of the file. n_expert_pages: those with a byte of an expert.
        floor_fraction: of the file's pages: what every token needs, whatever its routers choose.
        unions: the first is what one token needs. By arithmetic, from the choices.
        one_by_one: tokens that were computed one at a time under an instrument; each is a run of
            one. together: runs of 1, 2, 4 ... tokens, each computed in one step.
        use: for each layer, the share of tokens that each expert computes.
        shared: for each layer, the share of its experts that a token has in common with the one
            before it; None for texts of one token. chance: where all experts are used alike.
            chance_by_use: where each is used as often as here.
        dense: the dense model it is compared with, or None.
        mixtral_share: of the weights of Mixtral 8x7B that a token needs, by arithmetic.
        cut_short: whether it was interrupted; what was not measured is missing.
    """

    rows_of = ("unions", "one_by_one", "together", "dense")

    subject: str
    source: str
    n_scored: int
    nats: float
    n_layers: int
    n_experts: int
    n_experts_per_token: int
    page_size: int
    use: tuple[tuple[float, ...], ...]
    shared: tuple[float | None, ...]
    chance: float
    chance_by_use: float
    mixtral_share: float
    n_pages: int
    n_expert_pages: int
    floor_fraction: float
    unions: tuple[ExpertUnion, ...] = ()
    one_by_one: tuple[MeasuredRun, ...] = ()
    together: tuple[MeasuredRun, ...] = ()
    dense: DenseModel | None = None
    cut_short: bool = True

    def __str__(self) -> str:
        return _table(self)


def _table(found: Experts) -> str:
    lines = [
        f"{visible(found.subject)}: {found.n_experts_per_token} of {found.n_experts} experts in "
        f"each of {found.n_layers} layers compute a token; {found.n_scored:,} tokens scored, "
        f"{found.n_pages:,} pages of {found.page_size:,} bytes",
        found.source,
    ]
    for part in (_unions(found), _measured(found), _use(found), _loss(found)):
        lines += part
    lines += [
        "",
        f"Mixtral 8x7B, by arithmetic, nothing measured: a token needs {found.mixtral_share:.3f} "
        f"of the weights.",
    ]
    if found.cut_short:
        lines += ["", "Interrupted: what is missing above was not measured."]
    return "\n".join(lines)


def _unions(found: Experts) -> list[str]:
    if not found.unions:
        return []
    together = {run.n_tokens: run for run in found.together}
    heads = ("tokens, one after the other", *(f"{of.n_tokens:,}" for of in found.unions))
    rows: list[tuple[str | None, ...]] = [
        ("of the file", *(f"{of.file_fraction:.3f}" for of in found.unions)),
        (f"of the {found.n_expert_pages:,} pages with a byte of an expert",
         *(f"{of.expert_fraction:.3f}" for of in found.unions)),
    ]  # fmt: skip
    if together:
        measured = [together.get(of.n_tokens) for of in found.unions]
        shares = [f"{run.expert_fraction:.3f}" if run else None for run in measured]
        rows.append(("  the first tokens of a text, in one step", *shares))
    if found.dense and found.dense.unions:
        others = [found.dense.unions.get(of.n_tokens) for of in found.unions]
        shares = [None if of is None else f"{of:.3f}" for of in others]
        rows.append((f"of the dense model's file, {visible(found.dense.subject)}", *shares))
    return [
        "",
        "Share of the pages that neighboring tokens need together, mean of the scored text:",
        lay_out(heads, rows, "<>", "  "),
        f"  Without any expert a token needs {found.floor_fraction:.3f} of the file (attention, "
        f"routers and output).",
    ]


def _measured(found: Experts) -> list[str]:
    runs = (*found.one_by_one, *found.together)
    kinds = sorted({run.verdict for run in runs})
    if not runs:
        return []
    if "computed, not measured" in kinds or "counts only" in kinds:
        return ["  Computed: there is no instrument here that could measure them."]
    n_equal = sum(run.is_predicted for run in runs)
    mean = sum(run.file_fraction for run in found.one_by_one) / len(found.one_by_one)
    return [
        f"  Computed from the routers' choices. Under an instrument, {len(found.one_by_one)} "
        f"tokens one by one (mean {mean:.3f} of the file)",
        f"  and {len(found.together)} runs in one step: in {n_equal} of {len(runs)} the pages "
        f"touched are the pages predicted, as sets. Verdict: {', '.join(kinds)}.",
    ]


def _use(found: Experts) -> list[str]:
    if found.n_experts <= _MOST_COLUMNS:
        heads = [f"expert {e}" if e == 0 else str(e) for e in range(found.n_experts)]
        used = [[f"{100 * share:.0f}%" for share in layer] for layer in found.use]
    else:
        heads = ["least used", "most used"]
        used = [[f"{100 * end(layer):.1f}%" for end in (min, max)] for layer in found.use]
    rows = [
        (f"{layer}", *of, None if shared is None else f"{shared:.3f}")
        for layer, (of, shared) in enumerate(zip(used, found.shared, strict=True))
    ]
    known = [share for share in found.shared if share is not None]
    lines = [
        "",
        "Share of tokens that each expert computes, and the share of its experts that a token has "
        "in common with the one before it:",
        lay_out(("layer", *heads, "in common"), rows, ">", "  "),
    ]
    if known:
        lines.append(
            f"  In common, mean {sum(known) / len(known):.3f}; by chance {found.chance:.3f} where "
            f"all are used alike, {found.chance_by_use:.3f} where each is used as often as here."
        )
    return lines


def _loss(found: Experts) -> list[str]:
    lines = ["", f"Nats per token: {found.nats:.4f}"]
    if found.dense:
        lines[-1] += (
            f"; the dense model {visible(found.dense.subject)} on the same tokens: "
            f"{found.dense.nats:.4f}, the difference is {found.dense.difference}."
        )
    elif not found.cut_short:
        lines[-1] += ", compared with no dense model."
    return lines


def experts(
    path: str | Path | None = None,
    *,
    text_file: str | Path | None = None,
    dense: str | Path | None = None,
    n_measured: int = LONGEST,
    backend: str = "auto",
    progress: Callable[[int, int], object] | None = None,
) -> Experts:
    """Count the pages that tokens need of a mixture of experts, one by one and together.

    Interrupted by Ctrl+C once the text was scored, it returns what it has, `cut_short`.

    Args:
        path: the reader's checkpoint in one file, or a name; None for the bundled stories-moe.
        text_file: a UTF-8 text; None for stories that suit the bundled models. See
            slimmer/texts.py; nothing is calibrated here, so that only the scored part is used.
        dense: a dense model with the same tokens; None for the bundled one where `path` is None,
            and for no comparison elsewhere.
        n_measured: tokens whose pages are measured, 1 or more.
        backend: the instrument. progress: called with (positions computed, positions in all).
    Raises:
        RequestError: a dense model in place of the mixture or a mixture in place of the dense one,
            another vocabulary, a text that is too short or cannot be read, or a model without
            vocabulary.
        MeasurementError: a checkpoint in several files, or a named instrument that is refused.
    """
    file = bundled_checkpoint("stories-moe") if path is None else locate(path)
    with ExitStack() as stack:
        llama = stack.enter_context(load(file, kernels="numpy", arithmetic="float32"))
        check_mixture(llama.config)
        texts = texts_for(llama, text_file)
        lab = stack.enter_context(PageLab.open(file, backend))
        beside = None
        if dense is not None or path is None:  # the bundled one in the type of the mixture
            beside = stack.enter_context(model_file(dense, "gguf", "q8_0"))
        run = _Run(file, llama, lab, texts, n_measured, progress, beside is not None)
        return run.measure(beside, text_file)


class _Run:
    """One experiment while it is filled."""

    def __init__(
        self,
        file: Path,
        llama: Llama,
        lab: PageLab,
        texts: Texts,
        n_measured: int,
        progress: Callable[[int, int], object] | None,
        has_dense: bool,
    ) -> None:
        self.file, self.llama, self.lab, self.texts = file, llama, lab, texts
        self.config = llama.config
        self.pages = ExpertPages(lab.tensors, self.config, lab.page_size, lab.n_pages)
        self.text = texts.scored[0][: max(1, n_measured)]
        self.lengths = [2**i for i in range(8) if 2**i <= min(LONGEST, len(self.text))]
        self.show, self.n_before = progress, 0
        self.n_all = (2 + has_dense) * texts.n_scored + len(self.text) + sum(self.lengths)

    def tell(self, n_done: int) -> None:
        """So many positions of the pass at hand are done."""
        if self.show:
            self.show(self.n_before + n_done, self.n_all)

    def measure(self, dense: Path | None, text_file: str | Path | None) -> Experts:
        """Everything, or what was done when Ctrl+C came."""
        watch = RouterWatch(self.config)
        nats = token_nats(
            self.llama.model, self.texts.scored, tap=watch, progress=self.tell,
            end_of_text=watch.end_text,
        )  # fmt: skip
        self.n_before += len(nats)
        found = self._chosen(nats, watch.texts)
        try:
            found = replace(found, unions=self._unions(watch.texts))
            where = self.lab, self.file, self.pages, self.text
            found = replace(found, one_by_one=self._measured(one_by_one(*where)))
            found = replace(found, together=self._measured(together(*where, self.lengths)))
            if dense is not None:
                found = replace(found, dense=self._dense(dense, text_file, nats))
            return replace(found, cut_short=False)
        except KeyboardInterrupt:
            return found

    def _chosen(self, nats: np.ndarray, texts: Sequence[Choices]) -> Experts:
        config, use, shared = self.config, use_fractions(texts), shared_fractions(texts)
        return Experts(
            self.file.name, self.texts.source, len(nats), float(nats.mean()), config.n_layers,
            config.n_experts, config.n_experts_per_token, mmap.PAGESIZE,
            use=tuple(map(tuple, use.tolist())),
            shared=tuple(None if np.isnan(share) else float(share) for share in shared),
            chance=config.n_experts_per_token / config.n_experts,
            chance_by_use=shared_by_chance(use), mixtral_share=token_share(MIXTRAL_8X7B),
            n_pages=self.lab.n_pages, n_expert_pages=int(self.pages.experts.sum()),
            floor_fraction=float(self.pages.always.mean()),
        )  # fmt: skip

    def _unions(self, texts: Sequence[Choices]) -> tuple[ExpertUnion, ...]:
        """By arithmetic, of all runs of the scored texts."""
        found: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        scored = [text for text in self.texts.scored if len(text) > 1]
        for choices, text in zip(texts, scored, strict=True):
            for n, pages in self.pages.of_runs(choices, text, LONGEST):
                found[n].append(self.pages.fractions(pages))
            self.n_before += choices.experts.shape[1]
            self.tell(0)
        means = {n: np.mean(fractions, axis=0) for n, fractions in sorted(found.items())}
        return tuple(ExpertUnion(n, float(of[0]), float(of[1])) for n, of in means.items())

    def _measured(self, runs: Iterable[MeasuredRun]) -> tuple[MeasuredRun, ...]:
        found = []
        for run in runs:
            found.append(run)
            self.n_before += run.n_tokens
            self.tell(0)
        return tuple(found)

    def _dense(self, dense: Path, text_file: str | Path | None, nats: np.ndarray) -> DenseModel:
        """The same tokens with another model."""
        with load(dense, kernels="numpy", arithmetic="float32") as llama:
            if llama.config.n_experts:
                raise RequestError(f"{dense}: is a mixture of experts, expected a dense model")
            if texts_for(llama, text_file).scored != self.texts.scored:
                raise RequestError(
                    f"{dense}: makes other tokens of the text than {self.file.name} does, expected "
                    f"the same vocabulary and context; losses per token cannot be compared"
                )
            others = token_nats(llama.model, self.texts.scored, progress=self.tell)
            unions = dense_unions(llama, self.texts.scored)
        unions = {n: fraction for n, fraction in unions.items() if n <= LONGEST}
        return DenseModel(dense.name, float(others.mean()), paired_loss(others, nats), unions)
