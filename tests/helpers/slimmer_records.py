"""Results of experiments on slimmer models, made by hand."""

from __future__ import annotations

from llama_edu.experiments.experts import DenseModel, Experts, ExpertUnion
from llama_edu.experiments.neurons import NeuronCost, Neurons, TopTenth, Union
from llama_edu.experiments.neurons_and_pages import LayoutPages, NeuronsAndPages, Skipped
from llama_edu.experiments.observe.kept_neurons import Agreement
from llama_edu.quality.losses import Loss

LOSS = Loss(0.01, 0.001, 100)


def layout(name, hot_first, fractions, *, floor=0.25, down_type="f16"):
    unions = tuple({1: f, 2: f + 0.02, 4: f + 0.04, 64: 0.97} for f in fractions)
    return LayoutPages(name, hot_first, down_type, 1000, floor, tuple(fractions), unions, None,
                       Agreement(3, 3, "exact"))  # fmt: skip


def neurons_and_pages(layouts, shares=(0.5, 0.9), subject="a $file$.gguf"):
    skipped = tuple(Skipped(share, share - 0.01, LOSS) for share in shares)
    return NeuronsAndPages(subject, "a text", 100, 100, 0.1, 4096, shares, skipped, tuple(layouts),
                           (), (), False)  # fmt: skip


def experts(dense=True):
    unions = (ExpertUnion(1, 0.4, 0.25), ExpertUnion(2, 0.5, 0.44), ExpertUnion(4, 0.7, 0.65))
    other = DenseModel("dense.gguf", 0.1, LOSS, {1: 0.95, 2: 0.96, 4: 0.97})
    return Experts(
        "moe.gguf", "a text", 100, 0.2, 1, 8, 2, 4096, ((0.25,) * 8,), (0.3,), 0.25, 0.26, 0.27,
        1000, 700, 0.2, unions, dense=other if dense else None,
    )  # fmt: skip


def neurons():
    def cost(way, share):
        return NeuronCost(way, share, share, 0.1, 0.01, (Union(1, 1 - share), Union(2, 0.9)))

    costs = [cost(way, share) for way in ("oracle", "gate", "fixed") for share in (0.5, 0.9)]
    top = TopTenth(0.1, 0.1, 0.0, (0.8,), (Union(1, 0.1), Union(2, 0.19)))
    return Neurons("m", "a text", 100, 100, 0.1, tuple(costs), top, None, False)
