"""What really is sparse in a LLaMA: the rows of the embedding table, and nothing else.

A text is generated under a lab, token by token. Every matrix of every layer is read in full for
every token; of the embedding table each token needs one row. Where the output matrix is the same
table, even that saving is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.experiments.observe.subjects import model_file
from llama_edu.experiments.observe.token_steps import recorded
from llama_edu.loading import load
from llama_edu.pages.lab import PageLab
from llama_edu.pages.record import Record
from llama_edu.pages.verdict import Kind
from llama_edu.table import Rows, lay_out, percent
from llama_edu.text import visible
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import Model, forward


@dataclass(frozen=True)
class KindOfTensor(Rows):
    """One kind of tensor: its pages, those of the first token, and of all tokens together."""

    name: str
    n_pages: int
    one_token_pages: int
    all_tokens_pages: int


@dataclass(frozen=True)
class SparseParts(Rows):
    """How much of each kind of tensor a text needed.

    Attributes:
        unneeded: pages that hold a byte of any tensor but the embedding table, and that no token
            touched.
        verdict: how far the counts can be trusted; the least trusted of all records.
    """

    rows_of = ("parts",)

    file_name: str
    n_tokens: int
    parts: tuple[KindOfTensor, ...]
    unneeded: int
    verdict: Kind
    tied_output: bool

    def __str__(self) -> str:
        rows = [
            (p.name, p.n_pages, p.one_token_pages, percent(p.one_token_pages / p.n_pages),
             p.all_tokens_pages, percent(p.all_tokens_pages / p.n_pages))
            for p in self.parts
        ]  # fmt: skip
        heads = ("kind of tensor", "pages", "1 token", "%", f"{self.n_tokens} tokens", "%")
        tied = " The output matrix is the embedding table." if self.tied_output else ""
        return "\n".join([
            f"{visible(self.file_name)}: pages that tokens need. Verdict: {self.verdict}.{tied}",
            lay_out(heads, rows),
            f"Pages of other tensors that no token needed: {self.unneeded:,}.",
        ])  # fmt: skip


def sparse_parts(
    path: str | Path | None = None, *, n_tokens: int = 16, backend: str = "auto"
) -> SparseParts:
    """Generate `n_tokens` tokens under a lab and count, per kind of tensor, the pages they needed.

    Args:
        path: a checkpoint in one file; by default the bundled one, converted to f16.
        backend: the instrument; where none works the pages are computed, and labeled as such.
    """
    with (
        model_file(path) as file,
        PageLab.open(file, backend) as lab,
        load(file, lab=lab, kernels="numpy", arithmetic="float32") as llama,
    ):
        records = [record for _, record in recorded(lab, _greedy_tokens(llama.model, n_tokens))]
        tied = llama.checkpoint.tied_output
        name = llama.checkpoint.paths[0].name
    return _summary(name, records, tied)


def _greedy_tokens(model: Model, n_tokens: int) -> Iterator[int]:
    """The likeliest token after BOS, and so on; needs no tokenizer, which a file may lack."""
    cache = KVCache(model.config, n_tokens)
    token = 1  # BOS
    for _ in range(n_tokens):
        token = int(np.argmax(forward(model, [token], cache)[-1]))
        yield token


def _summary(name: str, records: list[Record], tied: bool) -> SparseParts:
    first = records[0]
    union = np.zeros(first.n_pages, bool)
    for record in records:
        if record.pages is not None:
            union |= record.pages
    parts = []
    for row in first.touched.by_kind():
        pages = first.touched.extent(row.name)
        parts.append(KindOfTensor(row.name, row.n_pages, row.n_touched, int((pages & union).sum())))
    outside = np.zeros(first.n_pages, bool)
    for part in parts:
        if part.name != "token_embedding":
            outside |= first.touched.extent(part.name)
    kinds = sorted({record.verdict.kind for record in records}, key=lambda kind: kind == "exact")
    return SparseParts(
        name, len(records), tuple(parts), int((outside & ~union).sum()), kinds[0], tied
    )
