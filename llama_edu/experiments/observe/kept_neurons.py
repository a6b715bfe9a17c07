"""Pages of kept neurons: of whole texts by arithmetic, of a few tokens by an instrument as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.loading import load
from llama_edu.pages.lab import PageLab
from llama_edu.pages.verdict import Kind
from llama_edu.slimmer.kept import kept_by_masks
from llama_edu.slimmer.neuron_pages import NeuronPages
from llama_edu.slimmer.unions import Unions
from llama_edu.table import Rows
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import forward


class MaskedTexts:
    """What each token of some texts keeps; bits, as bytes are too many.

    `see` takes the masks of a text's next tokens, layer by layer; `end_text` begins the next text.
    """

    def __init__(self, n_layers: int) -> None:
        self._n_layers = n_layers
        self._chunks: list[list[np.ndarray]] = [[] for _ in range(n_layers)]
        self._texts: list[tuple[np.ndarray, int]] = []

    def see(self, layer: int, kept: np.ndarray) -> None:
        """(T, hidden_dim) bool, True: kept; every layer is told of every token."""
        self._chunks[layer].append(np.packbits(kept, axis=1))
        self._hidden_dim = kept.shape[1]

    def end_text(self) -> None:
        """The text is complete."""
        packed = np.stack([np.concatenate(chunks) for chunks in self._chunks])
        self._texts.append((packed, self._hidden_dim))
        self._chunks = [[] for _ in range(self._n_layers)]

    def masks(self, order: np.ndarray | None = None) -> Iterable[np.ndarray]:
        """(n_layers, T, hidden_dim) bool of each text, in another order of neurons where given."""
        for packed, hidden_dim in self._texts:
            kept = np.unpackbits(packed, axis=2, count=hidden_dim).view(bool)
            yield kept if order is None else np.take_along_axis(kept, order[:, None, :], axis=2)


@dataclass(frozen=True)
class PagesOfTexts:
    """What the tokens of some texts need of a file.

    Attributes:
        fraction: of the file's pages, mean of all tokens.
        union: how many neighboring tokens -> the fraction that they need together.
    """

    fraction: float
    union: dict[int, float]


def pages_of_texts(
    pages: NeuronPages, masks: Iterable[np.ndarray], texts: Sequence[Sequence[int]]
) -> PagesOfTexts:
    """By arithmetic: the pages that each token of each text needs, and those of neighbors.

    Args:
        masks: of each text's tokens in the order of the file's neurons; of as many tokens as were
            computed, which may be fewer than the text has.
    """
    unions = Unions(1)
    for kept, text in zip(masks, texts, strict=True):
        unions.see(0, pages.needed(kept, text[: kept.shape[1]]))
        unions.end_text()
    found = unions.fractions()
    return PagesOfTexts(found[1], found)


@dataclass(frozen=True)
class Agreement(Rows):
    """How many of some tokens touched exactly the predicted pages, and how sure that is."""

    n_tokens: int
    n_equal: int
    verdict: Kind

    @classmethod
    def of_all(cls, parts: Sequence[Agreement]) -> Agreement:
        """All together, with the least trusted verdict."""
        return cls(
            sum(part.n_tokens for part in parts),
            sum(part.n_equal for part in parts),
            next((part.verdict for part in parts if part.verdict != "exact"), "exact"),
        )


def measured(
    lab: PageLab, path: Path, pages: NeuronPages, kept: np.ndarray, text: Sequence[int]
) -> Agreement:
    """Compute some tokens with their kept neurons alone, one position at a time, under a lab.

    Args:
        lab: on the file at `path`. pages: of the same file.
        kept: (n_layers, T, hidden_dim) bool in the order of the file. text: at least T ids.
    Returns:
        of T tokens, those whose touched pages are those of the ledger and those of `pages`.
    """
    n_equal = 0
    verdicts: list[Kind] = []
    with load(path, lab=lab, kernels="numpy", arithmetic="float32") as llama:
        cache = KVCache(llama.config, kept.shape[1])
        for t in range(kept.shape[1]):
            now = kept[:, t : t + 1]
            with lab.record(f"token {t}") as record:
                forward(llama.model, [text[t]], cache, ffn=kept_by_masks(now))
            expected = pages.needed(now, [text[t]])[0]
            found = (record.pages, record.predicted)
            n_equal += all(p is not None and np.array_equal(p, expected) for p in found)
            verdicts.append(record.verdict.kind)
    worst: Kind = next((kind for kind in verdicts if kind != "exact"), "exact")
    return Agreement(kept.shape[1], n_equal, worst)
