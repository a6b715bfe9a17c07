"""Neurons are not pages: what a file saves where a token leaves out half of its neurons.

"Could these models be slimmed down further?" A neuron is a row of w_gate, a row of w_up and a
column of w_down; a page holds several rows, and something of every column. The same weights are
written in other layouts (convert/arrange.py), and for each the pages that a token needs are
counted. Which neurons a token needs is told by an oracle: no program knows that before it has
computed them. The pages of whole texts are computed, those of a few tokens measured as well; both
have to agree.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.convert import convert
from llama_edu.convert.planning import TYPES, TypeName
from llama_edu.errors import RequestError
from llama_edu.experiments.observe.kept_neurons import (
    Agreement,
    MaskedTexts,
    measured,
    pages_of_texts,
)
from llama_edu.experiments.observe.layout_records import (
    LayoutPages,
    NeuronsAndPages,
    PageWise,
    Skipped,
)
from llama_edu.experiments.observe.subjects import model_file
from llama_edu.files.layout import LayoutName
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.pages.lab import PageLab
from llama_edu.quality.losses import Loss, paired_loss, token_nats
from llama_edu.quants.blocks import BLOCK_TYPES
from llama_edu.slimmer.activations import check_dense, check_share, observe_activations
from llama_edu.slimmer.hot_cold import hot_and_cold
from llama_edu.slimmer.llama_sizes import llama_sizes
from llama_edu.slimmer.masks import MaskTap, choose
from llama_edu.slimmer.neuron_pages import NeuronPages
from llama_edu.slimmer.page_groups import GroupTap, PageGroups, group_thresholds, page_groups
from llama_edu.slimmer.texts import Texts, texts_for
from llama_edu.transformer.model import Model

SHARES = (0.5, 0.7, 0.9)


def neurons_and_pages(
    path: str | Path | None = None,
    *,
    text_file: str | Path | None = None,
    shares: Sequence[float] = SHARES,
    n_measured: int = 3,
    backend: str = "auto",
    progress: Callable[[int, int], object] | None = None,
) -> NeuronsAndPages:
    """Count the pages that a token needs of each layout, where so many neurons are left out.

    Interrupted by Ctrl+C once the whole model was scored, it returns what it has, `cut_short`.

    Args:
        path: the reader's checkpoint in one file, or None for the bundled one as f16.
        text_file: a UTF-8 text; None for stories that suit the bundled model. See slimmer/texts.py.
        shares: of the neurons that are to be left out, each 0 to 1.
        n_measured: tokens whose pages are measured, for each layout and share.
        backend: the instrument. progress: called with (positions computed, positions in all).
    Raises:
        RequestError: a share outside 0 to 1, a text that is too short or cannot be read, a model
            without vocabulary, or a mixture of experts.
        MeasurementError: a checkpoint in several files, or a named instrument that is refused.
    """
    for share in shares:
        check_share(share)
    if not shares:
        raise RequestError("neurons: no share to be left out, expected one or more, such as 0.5")
    with (
        model_file(path, "gguf") as file,
        load(file, kernels="numpy", arithmetic="float32") as llama,
    ):
        check_dense(llama.config)
        texts = texts_for(llama, text_file)
        run = _Run(file, llama, texts, tuple(sorted(set(shares))), n_measured, backend, progress)
        return run.measure()


@dataclass(frozen=True)
class _File:
    """One file to be written: the layout, whether hot neurons come first, and w_down's type."""

    layout: LayoutName
    hot_first: bool
    down_type: TypeName
    page_wise: bool = False


def _files(llama: Llama) -> list[_File]:
    """The layouts of Table 2, then side by side with a w_down that loses less."""
    types = _down_types(llama)
    first = types[0]
    return [
        _File("rows", False, "keep"),
        _File("down-transposed", False, first),
        _File("down-transposed", True, first, page_wise=True),
        _File("side-by-side", True, first, page_wise=True),
        *(_File("side-by-side", True, more) for more in types[1:]),
    ]


def _down_types(llama: Llama) -> list[TypeName]:
    """Types for a transposed w_down: the stored one, where it can be made, and one of more bits."""
    config = llama.config
    stored = {llama.checkpoint.tensors[f"layers.{i}.w_down"].type for i in range(config.n_layers)}
    if not any(BLOCK_TYPES[name].is_quantized for name in stored):
        return ["keep"]
    if config.dim % 32:
        return ["f16"]
    if not stored <= set(TYPES):
        return ["q8_0"]
    return ["keep"] if stored == {"q8_0"} else ["keep", "q8_0"]


class _Run:
    """One experiment while it is filled."""

    def __init__(
        self,
        file: Path,
        llama: Llama,
        texts: Texts,
        shares: tuple[float, ...],
        n_measured: int,
        backend: str,
        progress: Callable[[int, int], object] | None,
    ) -> None:
        self.file, self.llama, self.texts, self.shares = file, llama, texts, shares
        self.n_measured, self.backend, self.show = n_measured, backend, progress
        self.model: Model = llama.model
        self.config: ModelConfig = llama.config
        self.n_calibration = sum(map(len, texts.calibration))
        self.files = _files(llama)
        n_scores = 1 + len(shares) * (1 + sum(f.page_wise for f in self.files))
        n_scores += len(_down_types(llama)) * self._is_rounded
        n_passes = 2 + sum(f.page_wise for f in self.files)
        self.n_all = n_passes * self.n_calibration + n_scores * texts.n_scored
        self.n_before = 0
        self.masks: list[MaskedTexts] = []
        self.roundings: dict[str, Loss] = {}

    @property
    def _is_rounded(self) -> bool:
        """Whether another layout rounds w_down again."""
        return BLOCK_TYPES[self.llama.checkpoint.tensors["layers.0.w_down"].type].is_quantized

    def tell(self, n_done: int) -> None:
        """So many positions of the pass at hand are done."""
        if self.show:
            self.show(self.n_before + n_done, self.n_all)

    def measure(self) -> NeuronsAndPages:
        """Everything, or what was done when Ctrl+C came."""
        texts = self.texts
        self.base = token_nats(self.model, texts.scored, progress=self.tell)
        self.n_before += texts.n_scored
        found = NeuronsAndPages(
            self.file.name, texts.source, self.n_calibration, texts.n_scored,
            float(self.base.mean()), mmap.PAGESIZE, self.shares, (), (), (),
            llama_sizes(self.shares, mmap.PAGESIZE), True,
        )  # fmt: skip
        try:
            activations = observe_activations(self.model, texts.calibration, progress=self.tell)
            self.n_before += self.n_calibration
            hot = hot_and_cold(self.model, texts.calibration, progress=self.tell)
            self.n_before += self.n_calibration
            self.order = np.stack(hot.hot_first())
            for share in self.shares:
                masked = MaskedTexts(self.config.n_layers)
                tap = MaskTap(choose(activations, "oracle", share), self.config, masked.see)
                loss = self._loss(tap, masked)
                self.masks.append(masked)
                skipped = Skipped(share, tap.left_out_fraction, loss)
                found = replace(found, skipped=(*found.skipped, skipped))
            for file in self.files:
                pages, page_wise = self._layout(file)
                found = replace(
                    found,
                    layouts=(*found.layouts, pages),
                    page_wise=(*found.page_wise, *page_wise),
                )
            return replace(found, cut_short=False)
        except KeyboardInterrupt:
            return found

    def _loss(self, tap: MaskTap | GroupTap, masked: MaskedTexts) -> Loss:
        """What a tap that leaves neurons out loses; its masks are kept text by text."""
        nats = []
        for text in self.texts.scored:
            nats.append(token_nats(self.model, [text], tap=tap, progress=self.tell))
            masked.end_text()
            self.n_before += len(text) - 1
        return paired_loss(self.base, np.concatenate(nats))

    def _layout(self, made: _File) -> tuple[LayoutPages, list[PageWise]]:
        """Write a file, count its pages, and remove it."""
        if made.layout == "rows":
            return self._pages(made, self.file)
        with tempfile.TemporaryDirectory(prefix="llama_edu_") as folder:
            path = Path(folder) / f"{made.layout}.gguf"
            convert(
                self.file, path, to="gguf", layout=made.layout, down_type=made.down_type,
                order=self.order if made.hot_first else None, allow_requantize=True,
            )  # fmt: skip
            return self._pages(made, path)

    def _pages(self, made: _File, path: Path) -> tuple[LayoutPages, list[PageWise]]:
        order = self.order if made.hot_first else None
        scored, n = self.texts.scored, min(self.n_measured, len(self.texts.scored[0]) - 1)
        with PageLab.open(path, self.backend) as lab:
            pages = NeuronPages(lab.tensors, self.config, lab.page_size, lab.n_pages)
            down_type = lab.tensors["layers.0.w_down"].type
            of_shares, agreements = [], []
            for masked in self.masks:
                of_shares.append(pages_of_texts(pages, masked.masks(order), scored))
                kept = next(iter(masked.masks(order)))[:, :n]
                agreements.append(measured(lab, path, pages, kept, scored[0]))
            none = np.zeros((self.config.n_layers, 1, self.config.hidden_dim), bool)
            found = LayoutPages(
                made.layout, made.hot_first, down_type, lab.n_pages,
                float(pages.needed(none, scored[0][:1]).mean()),
                tuple(of.fraction for of in of_shares), tuple(of.union for of in of_shares),
                self._rounding(path, made, down_type), Agreement.of_all(agreements),
            )  # fmt: skip
            if not made.page_wise:
                return found, []
            groups = page_groups(lab.tensors, self.config, lab.page_size, order)
            return found, self._page_wise(made.layout, pages, groups)

    def _rounding(self, path: Path, made: _File, down_type: str) -> Loss | None:
        """What a w_down that was rounded again loses, measured once for each type."""
        if made.layout == "rows" or not self._is_rounded:
            return None
        if down_type not in self.roundings:
            with load(path, kernels="numpy", arithmetic="float32") as llama:
                nats = token_nats(llama.model, self.texts.scored, progress=self.tell)
            self.n_before += self.texts.n_scored
            self.roundings[down_type] = paired_loss(self.base, nats)
        return self.roundings[down_type]

    def _page_wise(
        self, layout: LayoutName, pages: NeuronPages, groups: PageGroups
    ) -> list[PageWise]:
        thresholds = group_thresholds(
            self.model, self.texts.calibration, groups, self.shares, self.tell
        )
        self.n_before += self.n_calibration
        found = []
        for share in self.shares:
            masked = MaskedTexts(self.config.n_layers)
            tap = GroupTap(groups, thresholds[share], masked.see)
            loss = self._loss(tap, masked)
            needed = pages_of_texts(pages, masked.masks(), self.texts.scored)
            found.append(PageWise(layout, groups.mean_neurons, share, tap.left_out_fraction, loss,
                                  needed.fraction))  # fmt: skip
        return found
