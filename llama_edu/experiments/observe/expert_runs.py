"""Steps of a mixture of experts under an instrument, beside what its routers chose in them."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.experiments.observe.kept_neurons import pages_of_texts
from llama_edu.files.layout import TensorSpec
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.pages.arithmetic import n_pages_of
from llama_edu.pages.lab import PageLab
from llama_edu.pages.verdict import Kind
from llama_edu.slimmer.expert_pages import ExpertPages
from llama_edu.slimmer.expert_use import RouterWatch
from llama_edu.slimmer.neuron_pages import NeuronPages
from llama_edu.table import Rows
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import forward


@dataclass(frozen=True)
class MeasuredRun(Rows):
    """Tokens that were computed in one step under an instrument.

    Attributes:
        file_fraction, expert_fraction: of the pages of the file, and of those of experts.
        is_predicted: whether instrument, ledger and choices give the same set of pages.
    """

    n_tokens: int
    file_fraction: float
    expert_fraction: float
    is_predicted: bool
    verdict: Kind


def one_by_one(
    lab: PageLab, path: Path, pages: ExpertPages, text: Sequence[int]
) -> Iterator[MeasuredRun]:
    """Each token of a text in a step of its own."""
    with load(path, lab=lab, kernels="numpy", arithmetic="float32") as llama:
        cache = KVCache(llama.config, len(text))
        for token in text:
            yield _recorded(lab, llama, pages, [token], cache)


def together(
    lab: PageLab, path: Path, pages: ExpertPages, text: Sequence[int], lengths: Sequence[int]
) -> Iterator[MeasuredRun]:
    """For each length so many first tokens of a text in one step, as a prompt is read."""
    with load(path, lab=lab, kernels="numpy", arithmetic="float32") as llama:
        for n in lengths:
            yield _recorded(lab, llama, pages, text[:n], KVCache(llama.config, n))


def _recorded(
    lab: PageLab, llama: Llama, pages: ExpertPages, tokens: Sequence[int], cache: KVCache
) -> MeasuredRun:
    watch = RouterWatch(llama.config)
    with lab.record(f"{len(tokens)} tokens") as record:
        forward(llama.model, tokens, cache, tap=watch)
    expected = pages.needed(watch.so_far().used(), tokens)
    touched = expected if record.pages is None else record.pages
    is_predicted = (
        record.pages is not None
        and record.predicted is not None
        and np.array_equal(record.pages, expected)
        and np.array_equal(record.predicted, expected)
    )
    return MeasuredRun(len(tokens), *pages.fractions(touched), is_predicted, record.verdict.kind)


def dense_unions(llama: Llama, texts: Sequence[Sequence[int]]) -> dict[int, float]:
    """What neighboring tokens need of a dense model's file, by arithmetic.

    Returns:
        number of tokens -> fraction of the file's pages, mean of the texts; {} for several files.
    """
    paths, config = llama.checkpoint.paths, llama.config
    tensors = {n: s for n, s in llama.checkpoint.tensors.items() if isinstance(s, TensorSpec)}
    if len(paths) > 1 or len(tensors) < len(llama.checkpoint.tensors):
        return {}
    n_pages = n_pages_of(paths[0].stat().st_size, mmap.PAGESIZE)
    pages = NeuronPages(tensors, config, mmap.PAGESIZE, n_pages)
    masks = (np.ones((config.n_layers, len(text), config.hidden_dim), bool) for text in texts)
    return pages_of_texts(pages, masks, texts).union
