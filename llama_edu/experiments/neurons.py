"""Which neurons does a token need? The loss when the smallest are left out, chosen in three ways.

"Could these models be slimmed down further?" With SiLU no neuron is exactly zero, but many are
small; CATS (arXiv 2404.08763) leaves out those whose gate is. What can be left out by the true size
is a bound for such thresholds, not what a program could reach. Neurons are not pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.experiments.observe.subjects import model_file
from llama_edu.loading import load
from llama_edu.quality.losses import paired_loss, token_nats
from llama_edu.slimmer.activations import check_dense, check_share, observe_activations
from llama_edu.slimmer.hot_cold import NEARLY_EVERYBODY, HotAndCold, hot_and_cold
from llama_edu.slimmer.masks import WAYS, Choice, MaskTap, Way, choose
from llama_edu.slimmer.texts import Texts, texts_for
from llama_edu.slimmer.unions import Unions
from llama_edu.table import Rows, lay_out, percent
from llama_edu.text import visible
from llama_edu.transformer.model import Model
from llama_edu.workers.opened import WeightsFile, close_opened, opened
from llama_edu.workers.pieces import EngineError, MapFunction, Progress, each_done

SHARES = (0.25, 0.5, 0.7, 0.9)

_WAY = {
    "oracle": "by the true size (an oracle: it knows what it skips)",
    "gate": "by the gate alone (CATS)",
    "fixed": "the same set for every token",
}


@dataclass(frozen=True)
class Union(Rows):
    """The share of neurons that n neighboring tokens need together; mean of runs and layers."""

    n_tokens: int
    fraction: float


@dataclass(frozen=True)
class NeuronCost(Rows):
    """One choice of neurons.

    Attributes:
        way: "oracle", "gate" or "fixed". share: of the neurons that was to be left out.
        left_out_fraction: what was left out of the scored text.
        nats, standard_error: lost per token, a paired difference to the whole model.
        unions: of the neurons that are kept.
    """

    rows_of = ()

    way: Way
    share: float
    left_out_fraction: float
    nats: float
    standard_error: float
    unions: tuple[Union, ...]


@dataclass(frozen=True)
class TopTenth(Rows):
    """Of the neurons in the top tenth of the scored text's tokens, and of their numbers.

    Attributes:
        nobodys_fraction, nearly_everybodys_fraction: of all neurons.
        zero_fraction: of all numbers, those that are exactly zero.
        energy_fractions: for each layer, the share of a token's sum of squares in its top tenth.
    """

    rows_of = ()

    nobodys_fraction: float
    nearly_everybodys_fraction: float
    zero_fraction: float
    energy_fractions: tuple[float, ...]
    unions: tuple[Union, ...]


@dataclass(frozen=True)
class Neurons(Rows):
    """What each choice loses.

    Attributes:
        n_calibration, n_scored: tokens. source: where the two texts are from.
        base_nats: of the whole model, per token.
        costs: in the order of WAYS, of each way by share.
        own_threshold: the oracle at `share` with thresholds of the scored text itself, beside which
            the same row of `costs` says what it costs that they are from another text.
        cut_short: whether it was interrupted; what was not measured is missing, or None.
    """

    rows_of = ("costs", "own_threshold", "top_tenth")

    subject: str
    source: str
    n_calibration: int
    n_scored: int
    base_nats: float
    costs: tuple[NeuronCost, ...]
    top_tenth: TopTenth | None
    own_threshold: NeuronCost | None
    cut_short: bool

    def __str__(self) -> str:
        shares = sorted({cost.share for cost in self.costs})
        found = {(cost.way, cost.share): cost for cost in self.costs}
        rows = [
            (_WAY[way], *(_loss(found.get((way, share))) for share in shares))
            for way in WAYS
            if any(cost.way == way for cost in self.costs)
        ]
        lines = [
            f"{visible(self.subject)}: {self.base_nats:.4f} nats per token, "
            f"{self.n_scored:,} tokens scored",
            self.source,
            "",
            "Nats per token lost where the smallest neurons of each token are zero, ± the standard "
            "error.",
            f"Thresholds are per layer and from another text ({self.n_calibration:,} tokens).",
            lay_out(("share left out", *map(_share, shares)), rows, "<>", "  "),
            *self._own_lines(found),
            *self._union_lines(),
            *self._top_lines(),
        ]
        if self.cut_short:
            lines += ["", "Interrupted: what is missing above was not measured."]
        return "\n".join(lines)

    def _own_lines(self, found: dict[tuple[Way, float], NeuronCost]) -> list[str]:
        own = self.own_threshold
        if own is None:
            return []
        return [
            f"  The oracle at {_share(own.share)} loses {_loss(own)} with thresholds of the scored "
            f"text itself, {_loss(found[own.way, own.share])} with those of the other one."
        ]

    def _union_lines(self) -> list[str]:
        kept = [
            (f"kept by {cost.way}, {_share(cost.share)} left out", cost.unions)
            for cost in self.costs
            if cost.way != "fixed"
        ]
        if self.top_tenth:
            kept.insert(0, ("top tenth of each token", self.top_tenth.unions))
        lengths = sorted({union.n_tokens for _, unions in kept for union in unions})
        rows = [(name, *(_fraction(unions, n) for n in lengths)) for name, unions in kept if unions]
        if not rows:
            return []
        heads = ("tokens, one after the other", *(f"{n:,}" for n in lengths))
        return ["", "Share of a layer's neurons that so many neighboring tokens need together:",
                lay_out(heads, rows, "<>", "  ")]  # fmt: skip

    def _top_lines(self) -> list[str]:
        top = self.top_tenth
        if top is None:
            return []
        least, most = min(top.energy_fractions), max(top.energy_fractions)
        return [
            "",
            f"In no token's top tenth are {top.nobodys_fraction:.2%} of the neurons, in that of "
            f"more than {NEARLY_EVERYBODY:.0%} of the tokens {top.nearly_everybodys_fraction:.2%}.",
            f"Exactly zero are {percent(top.zero_fraction)} of the numbers; a token's top tenth "
            f"has {least:.0%} to {most:.0%} of its energy, by layer.",
        ]


def _share(share: float) -> str:
    return f"{100 * share:g}%"


def _loss(cost: NeuronCost | None) -> str | None:
    return None if cost is None else f"{cost.nats:+.4f} ± {cost.standard_error:.4f}"


def _fraction(unions: Sequence[Union], n_tokens: int) -> str | None:
    found = [union.fraction for union in unions if union.n_tokens == n_tokens]
    return f"{found[0]:.3f}" if found else None


def neurons(
    path: str | Path | None = None,
    *,
    text_file: str | Path | None = None,
    shares: Sequence[float] = SHARES,
    progress: Progress | None = None,
    map: MapFunction | None = None,
) -> Neurons:
    """Leave neurons out of a model in three ways, and score a text each time.

    Interrupted by Ctrl+C once the whole model was scored, it returns what it has, `cut_short`.

    Args:
        path: the reader's checkpoint or a name, or None for the bundled one.
        text_file: a UTF-8 text; None for stories that the bundled model does not know, which are
            easy for it and strange to every other model. See slimmer/texts.py.
        shares: of the neurons that are to be left out, each 0 to 1.
        progress: called with (choices scored, choices in all), after what they need was measured.
        map: shares the choices among processes, as Executor.map does; each then has one thread.
    Raises:
        EngineError: the engine behind `map` ended; `kept` has what was done.
        RequestError: a share outside 0 to 1, a text that is too short or cannot be read, a model
            without vocabulary, or a mixture of experts.
    """
    for share in shares:
        check_share(share)
    if not shares:
        raise RequestError("neurons: no share to be left out, expected one or more, such as 0.5")
    threads = None if map is None else 1
    with (
        model_file(path, "gguf") as file,
        load(file, kernels="numpy", arithmetic="float32", threads=threads) as llama,
    ):
        check_dense(llama.config)
        texts = texts_for(llama, text_file)
        weights = WeightsFile.at(file, kernels="numpy", threads=threads, same_bits=False)
        try:
            return _measured(llama.model, weights, texts, sorted(set(shares)), progress, map)
        finally:
            close_opened()


def _measured(
    model: Model,
    file: WeightsFile,
    texts: Texts,
    shares: Sequence[float],
    progress: Progress | None,
    map: MapFunction | None,
) -> Neurons:
    activations = observe_activations(model, texts.calibration)
    base = token_nats(model, texts.scored)
    found = Neurons(file.name, texts.source, sum(len(text) for text in texts.calibration),
                    texts.n_scored, float(base.mean()), (), None, None, True)  # fmt: skip
    try:
        middle = shares[(len(shares) - 1) // 2]
        own = choose(observe_activations(model, texts.scored), "oracle", middle)
        choices = [choose(activations, way, share) for way in WAYS for share in shares]
        pieces = [_ChoicePiece(file, texts, base, choice) for choice in (*choices, own)]
        done: dict[int, NeuronCost] = {}
        for number, cost in each_done(_cost, pieces, map, progress):
            done[number] = cost
            costs = tuple(done[n] for n in sorted(done) if n < len(choices))
            found = replace(found, costs=costs, own_threshold=done.get(len(choices)))
        top = hot_and_cold(model, texts.scored)
        return replace(found, top_tenth=_top_tenth(top), cut_short=False)
    except KeyboardInterrupt:
        return found
    except EngineError as error:
        error.kept = found
        raise


@dataclass(frozen=True, eq=False)
class _ChoicePiece:
    """A rule that leaves neurons out, and what the whole model loses: (n_tokens,) float64."""

    file: WeightsFile
    texts: Texts
    base: np.ndarray
    choice: Choice


def _cost(piece: _ChoicePiece) -> NeuronCost:
    choice = piece.choice
    with opened(piece.file) as found:
        model = found.llama.model
        unions = Unions(model.config.n_layers)
        tap = MaskTap(choice, model.config, unions.see)
        nats = token_nats(model, piece.texts.scored, tap=tap, end_of_text=unions.end_text)
    loss = paired_loss(piece.base, nats)
    return NeuronCost(choice.way, choice.share, tap.left_out_fraction, loss.nats,
                      loss.standard_error, _unions(unions))  # fmt: skip


def _top_tenth(found: HotAndCold) -> TopTenth:
    return TopTenth(found.nobodys_fraction, found.nearly_everybodys_fraction, found.zero_fraction,
                    tuple(found.energy_fractions.tolist()), _unions(found.unions))  # fmt: skip


def _unions(unions: Unions) -> tuple[Union, ...]:
    return tuple(Union(n, fraction) for n, fraction in unions.fractions().items())
