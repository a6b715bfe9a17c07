"""The pages that chosen experts need, beside a slow twin that goes byte by byte."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.mixtures import choices_of, write_dense, write_mixture

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.pages.arithmetic import n_pages_of
from llama_edu.slimmer.expert_pages import ExpertPages
from llama_edu.slimmer.mixtral_size import MIXTRAL_8X7B, token_share

PAGE = 512  # smaller than any system's, so that a small file has many


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return read_checkpoint(write_mixture(tmp_path_factory.mktemp("moe") / "moe.gguf", dim=24))


def pages_for(checkpoint):
    n_pages = n_pages_of(checkpoint.paths[0].stat().st_size, PAGE)
    return ExpertPages(checkpoint.tensors, checkpoint.config, PAGE, n_pages)


def by_hand(checkpoint, used, tokens, n_pages):
    """Page after page, from the names alone."""
    pages = set()
    for name, spec in checkpoint.tensors.items():
        ranges = [(spec.offset, spec.n_bytes)]
        if name == "token_embedding":
            row = spec.n_bytes // spec.shape[0]
            ranges = [(spec.offset + token * row, row) for token in tokens]
        elif ".experts." in name:
            _, layer, _, expert, _ = name.split(".")
            ranges = ranges if used[int(layer)][int(expert)] else []
        for start, length in ranges:
            pages |= set(range(start // PAGE, (start + length - 1) // PAGE + 1))
    return np.isin(np.arange(n_pages), list(pages))


def test_needed_pages_are_those_of_the_chosen_experts_and_of_what_everyone_needs(checkpoint, rng):
    pages = pages_for(checkpoint)
    for _ in range(5):
        used = rng.random((2, 7)) < 0.4
        tokens = rng.integers(0, 300, 3).tolist()
        expected = by_hand(checkpoint, used, tokens, pages.n_pages)
        assert np.array_equal(pages.needed(used, tokens), expected)
    none = np.zeros((2, 7), bool)
    assert np.array_equal(pages.always, by_hand(checkpoint, none, [], pages.n_pages))
    everyone = by_hand(checkpoint, ~none, [], pages.n_pages)
    assert np.array_equal(everyone, pages.always | pages.experts)
    assert not np.array_equal(pages.experts, everyone)


def test_runs_lie_side_by_side_and_the_rest_is_in_none(checkpoint):
    pages = pages_for(checkpoint)
    chosen = [[(t % 7, (t + 1) % 7) for t in range(7)], [(0, 1)] * 7]
    choices, tokens = choices_of(chosen, 7), [5, 6, 7, 8, 9, 10, 11, 12]
    found = list(pages.of_runs(choices, tokens))
    assert [n for n, _ in found] == [1] * 7 + [2] * 3 + [4]
    run = slice(2, 4)
    assert np.array_equal(found[8][1], pages.needed(choices.used(run), tokens[run]))
    assert np.array_equal(found[10][1], pages.needed(choices.used(slice(0, 4)), tokens[:4]))
    assert [n for n, _ in pages.of_runs(choices, tokens, longest=2)] == [1] * 7 + [2] * 3


def test_a_dense_model_is_refused(tmp_path):
    checkpoint = read_checkpoint(write_dense(tmp_path / "dense.gguf"))
    with pytest.raises(RequestError, match="the model is dense"):
        pages_for(checkpoint)


def test_a_token_of_mixtral_needs_27_percent_of_the_weights():
    """Its authors say 47 billion, of which 13 billion for a token."""
    n = sum(math.prod(shape) for shape in MIXTRAL_8X7B.tensor_shapes().values())
    assert round(n / 1e9, 1) == 46.7
    assert round(token_share(MIXTRAL_8X7B), 3) == 0.273
    assert round(token_share(MIXTRAL_8X7B) * n / 1e9) == 13


def test_of_a_dense_model_a_token_needs_all_but_the_other_rows():
    config = ModelConfig(4, 6, 1, 2, 2, 10, 8, 1e-5)
    n = sum(math.prod(shape) for shape in config.tensor_shapes().values())
    assert token_share(config) == pytest.approx((n - 9 * 4) / n)
