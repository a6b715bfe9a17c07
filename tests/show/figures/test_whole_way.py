"""The whole way: every number of the figure is one of the file or of the computation."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.gguf_by_hand import gguf_bytes

import llama_edu
from llama_edu.errors import RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.show.figures.whole_way import whole_way, whole_way_figure

pytest.importorskip("matplotlib")

TEXT = "Once upon a time"


@pytest.fixture(scope="module")
def stories(tmp_path_factory):
    from llama_edu.show.runtime.course_model import one_file

    try:
        source = llama_edu.bundled_checkpoint()
    except llama_edu.LlamaEduError:
        pytest.skip("the bundled checkpoint is not there")
    with llama_edu.load(one_file(source, tmp_path_factory.mktemp("way"))) as llama:
        yield llama


def test_the_row_is_that_of_the_last_token_in_the_file(stories):
    way = whole_way(stories, TEXT)
    path = stories.checkpoint.paths[0]
    token = stories.tokenizer.encode(TEXT)[-1]
    data = path.read_bytes()
    assert way.n_bytes == len(data) and way.n_pages == -(-len(data) // 4096)
    row = np.frombuffer(data[way.row.start : way.row.stop], np.float16)
    np.testing.assert_array_equal(row, stories.weights["token_embedding"][token])
    np.testing.assert_array_equal(row.astype(np.float32), way.vectors[0])
    assert way.row_pages.start == way.row.start // 4096 and "time" in way.piece


def test_vectors_and_scores_are_those_of_the_computation(stories):
    way = whole_way(stories, TEXT)
    tokens = stories.tokenizer.encode(TEXT)
    assert way.vectors.shape == (1 + stories.config.n_layers, stories.config.dim)
    last = stories.trace(tokens, "layers.5.out")["layers.5.out"][-1]
    np.testing.assert_array_equal(way.vectors[-1], last)
    logits = stories.logits(tokens)[-1].astype(float)
    chances = np.sort(np.exp(logits) / np.exp(logits).sum())[::-1]
    np.testing.assert_allclose([c for _, c in way.likeliest], chances[: len(way.likeliest)], 1e-4)
    assert way.n_scores == stories.config.vocab_size


def test_the_bands_begin_where_the_tensors_do(stories):
    way = whole_way(stories, TEXT)
    tensors = read_checkpoint(stories.checkpoint.paths[0]).tensors
    named = dict(way.bands)
    assert named["header"] == 0 and list(named.values()) == sorted(named.values())
    assert named["token_embedding"] == tensors["token_embedding"].offset
    layer = [spec.offset for name, spec in tensors.items() if name.startswith("layers.3.")]
    assert named["layer 3"] == min(layer)


def test_the_figure_is_drawn_with_its_words(stories):
    drawn = whole_way_figure(stories, TEXT)
    size = f"{stories.checkpoint.paths[0].stat().st_size:,} bytes"
    assert size in drawn.alt and "2,759 pages" in drawn.alt and "1,024 scores" in drawn.alt
    texts = " ".join(text.get_text() for text in drawn.figure.texts)
    for word in ("1  the file", "2  its pages", "3  a vector", "4  a token", size):
        assert word in texts
    assert drawn.png().startswith(b"\x89PNG")


def test_a_small_grouped_query_model_without_a_vocabulary_is_refused_in_words(in_folder):
    (in_folder / "tiny.gguf").write_bytes(gguf_bytes())
    with llama_edu.load("tiny.gguf") as llama, pytest.raises(llama_edu.LlamaEduError):
        whole_way(llama, TEXT)


def test_a_model_in_several_files_is_refused():
    try:
        folder = llama_edu.bundled_checkpoint()
    except llama_edu.LlamaEduError:
        pytest.skip("the bundled checkpoint is not there")
    with (
        llama_edu.load(folder) as llama,
        pytest.raises(RequestError, match=r"lies in 2 files, expected one; write it as one with"),
    ):
        whole_way(llama, TEXT)
