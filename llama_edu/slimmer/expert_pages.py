"""Which pages of a file the experts of a token need, by arithmetic alone.

It is independent of the ledger and of any instrument: the three have to agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from llama_edu.config import ModelConfig, output_name
from llama_edu.errors import RequestError
from llama_edu.files.layout import TensorSpec
from llama_edu.pages.arithmetic import pages_of
from llama_edu.pages.ranges import own_ranges, tensor_ranges
from llama_edu.transformer.experts import Choices

_PARTS = ("w_gate", "w_up", "w_down")


def check_mixture(config: ModelConfig) -> None:
    """Raise RequestError for a dense model."""
    if not config.n_experts:
        raise RequestError(
            "experts: the model is dense, it has one feed-forward network in each layer and every "
            "token needs it; expected a mixture of experts, such as the bundled stories-moe"
        )


class ExpertPages:
    """The pages of one file by what the routers choose for a token.

    Args:
        tensors: of one file, by our names. page_size: bytes of a page. n_pages: of the file.
    Attributes:
        always: (n_pages,) bool: pages that every token needs: attention, norms, routers, output.
            With a tied output the embedding table is among them.
        experts: (n_pages,) bool: pages that hold a byte of an expert. At the edge of an expert a
            page may be in both.
    Raises:
        RequestError: a dense model.
    """

    def __init__(
        self,
        tensors: Mapping[str, TensorSpec],
        config: ModelConfig,
        page_size: int,
        n_pages: int,
    ) -> None:
        check_mixture(config)
        self.n_pages, self._page_size = n_pages, page_size
        self._embedding = tensors["token_embedding"]
        self._spans = [
            [
                _spans(tensors, f"layers.{layer}.experts.{expert}", page_size)
                for expert in range(config.n_experts)
            ]
            for layer in range(config.n_layers)
        ]
        self.always, self.experts = np.zeros((2, n_pages), bool)
        row_wise = output_name(tensors) != "token_embedding"
        for name, spec in tensors.items():
            if ".experts." not in name and not (row_wise and name == "token_embedding"):
                self.always |= pages_of(own_ranges(spec), n_pages, page_size)
        for layer in self._spans:
            for spans in layer:
                _mark(self.experts, spans)

    def needed(self, used: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
        """The pages that some tokens need together.

        Args:
            used: (n_layers, n_experts) bool, the experts that at least one of them needs.
            tokens: their ids.
        Returns:
            (n_pages,) bool, a new array.
        """
        rows = tensor_ranges(self._embedding, 0, np.unique(np.asarray(tokens, np.int64)))
        pages = self.always | pages_of(rows, self.n_pages, self._page_size)
        for spans, chosen in zip(self._spans, used, strict=True):
            for expert in np.flatnonzero(chosen):
                _mark(pages, spans[expert])
        return pages

    def fractions(self, pages: np.ndarray) -> tuple[float, float]:
        """The share of all pages, and of those of experts, that is marked in (n_pages,) bool."""
        return float(pages.mean()), float(pages[self.experts].mean())

    def of_runs(
        self, choices: Choices, tokens: Sequence[int], longest: int = 32
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Runs of 1, 2, 4 ... neighboring tokens of a text: how many, and the pages they need.

        The runs of one length lie side by side from the start; what is left at the end is in none.

        Args:
            choices: of the text. tokens: at least as many ids. longest: tokens of a run, at most.
        """
        n_tokens = choices.experts.shape[1]
        n = 1
        while n <= min(longest, n_tokens):
            for start in range(0, n_tokens - n + 1, n):
                run = slice(start, start + n)
                yield n, self.needed(choices.used(run), tokens[run])
            n *= 2


def _spans(tensors: Mapping[str, TensorSpec], network: str, page_size: int) -> np.ndarray:
    """(n, 2) int64: for each byte range of an expert its first page, and the one after its last."""
    ranges = np.concatenate([own_ranges(tensors[f"{network}.{part}"]) for part in _PARTS])
    first, n_bytes = ranges[:, 0], ranges[:, 1]
    return np.stack([first // page_size, (first + n_bytes - 1) // page_size + 1], axis=1)


def _mark(pages: np.ndarray, spans: np.ndarray) -> None:
    for start, stop in spans:
        pages[start:stop] = True
