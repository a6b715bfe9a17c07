"""One model, measured once; every way of making it smaller then becomes a row beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.files.layout import TensorSpec
from llama_edu.llama import Llama
from llama_edu.quality.losses import paired_loss, token_nats
from llama_edu.slimmer.texts import Texts
from llama_edu.slimmer.ways.cost import Cost, cost, placed
from llama_edu.slimmer.ways.float32 import in_float32
from llama_edu.slimmer.ways.shares import check_dense
from llama_edu.table import Rows
from llama_edu.transformer.model import FeedForward, Model


@dataclass(frozen=True)
class Row(Rows):
    """One way to make a model smaller.

    Attributes:
        kind: what it has in common with other rows: "stored type", "pruning" ...
        label: which one. note: what a reader has to know about it.
        bytes_share: bytes per token, as a share of the model it is compared with.
        n_pages: pages per token.
        nats: lost per token of the text; negative is a gain. standard_error: of that.

    Numbers are None where there is nothing to measure; the note then says why.
    """

    kind: str
    label: str
    bytes_share: float | None = None
    n_pages: int | None = None
    nats: float | None = None
    standard_error: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Measured:
    """A model before anything is changed.

    Attributes:
        stored: its weights as the file has them. model: the same as float32, for many passes.
        tensors: name -> where it lies in the file, in the file's order.
        token: the id that a token's cost is measured with. cost: what it reads.
        nats: (n_tokens,) float64 of the scored text.
    """

    llama: Llama
    stored: Model
    model: Model
    tensors: Mapping[str, TensorSpec]
    texts: Texts
    token: int
    cost: Cost
    nats: np.ndarray

    def row(
        self,
        kind: str,
        label: str,
        cost: Cost | None,
        nats: np.ndarray,
        note: str = "",
        bytes_left_out: float = 0,
    ) -> Row:
        """A row from what a token reads (None: what it did before) and what the text then costs."""
        cost = cost or self.cost
        loss = paired_loss(self.nats, nats)
        share = (cost.n_bytes - bytes_left_out) / self.cost.n_bytes
        return Row(kind, label, share, cost.n_pages, loss.nats, loss.standard_error, note)

    def cost_as_file(self, model: Model, ffn: FeedForward | None = None, token: int = -1) -> Cost:
        """What a token reads of other weights, in a file with a header as long as this one's."""
        order = list(self.tensors)
        weights = dict(
            sorted(model.weights.items(), key=lambda item: order.index(_original(item[0], order)))
        )
        start = min(spec.offset for spec in self.tensors.values())
        token = self.token if token < 0 else token
        return cost(model, placed(weights, start), token, ffn=ffn)


def _original(name: str, order: list[str]) -> str:
    """The weight in whose place another one stands: itself, or that of which it is a factor."""
    return name if name in order else name.rpartition(".")[0]


def measured(llama: Llama, texts: Texts, nats: np.ndarray | None = None) -> Measured:
    """Measure a model as it is.

    Args:
        nats: what it loses on the scored text, where that is known already.
    Raises:
        RequestError: a model with experts, or in several files.
    """
    check_dense(llama.config, "slimmer")
    tensors = {
        name: spec
        for name, spec in llama.checkpoint.tensors.items()
        if isinstance(spec, TensorSpec) and spec.file == 0
    }
    if len(tensors) != len(llama.checkpoint.tensors):
        raise RequestError(
            f"{llama.checkpoint.paths[0]}: is one of {len(llama.checkpoint.paths)} files, expected "
            f"all weights in one; convert the checkpoint to one file first"
        )
    tensors = dict(sorted(tensors.items(), key=lambda item: item[1].offset))
    token = texts.scored[0][0]
    model = in_float32(llama.model)
    if nats is None:
        nats = token_nats(model, texts.scored)
    return Measured(
        llama, llama.model, model, tensors, texts, token, cost(llama.model, tensors, token), nats
    )
