"""The test of the whole lab: the pages that the forward pass asked for are those it touched."""

import numpy as np
import pytest
from helpers.ground_truth import BACKENDS, pressed
from helpers.llama2c_v2_by_hand import llama2c_v2
from helpers.small_models import llama2c_v0, random_weights, small_config

from llama_edu.bundled import bundled_checkpoint
from llama_edu.config import ModelConfig
from llama_edu.convert import convert
from llama_edu.errors import MeasurementError
from llama_edu.loading import load
from llama_edu.pages.lab import PageLab
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import forward

N_PROMPT, N_STEPS = 16, 8


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundled") / "stories-f16.bin"
    convert(bundled_checkpoint(), path, to="ggjt-v1", type="f16")
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """110 million random numbers as float32, in the shape of the largest story model."""
    config = ModelConfig(
        dim=768, hidden_dim=2048, n_layers=12, n_heads=12, n_kv_heads=12, vocab_size=32000,
        max_seq_len=1024,
    )  # fmt: skip
    weights = random_weights(config, np.random.default_rng(110), tied=True)
    path = tmp_path_factory.mktemp("large") / "random110M.bin"
    path.write_bytes(llama2c_v0(config, weights))
    return path


def check(path, backend, allowed=()):
    try:
        lab = PageLab.open(path, backend)
    except MeasurementError as refused:
        pytest.skip(str(refused))
    rng = np.random.default_rng(16)
    with lab, load(path, lab=lab) as llama:
        cache = KVCache(llama.config, N_PROMPT + N_STEPS)
        tokens = rng.integers(3, llama.config.vocab_size, N_PROMPT + N_STEPS).tolist()
        steps = [tokens[:N_PROMPT], *([token] for token in tokens[N_PROMPT:])]
        for number, step in enumerate(steps):
            with lab.record(f"step {number}") as record:
                forward(llama.model, step, cache)
            if pressed(record.verdict.reasons):
                pytest.skip(record.verdict.reasons[0])
            missing = record.predicted & ~record.pages
            extra = record.pages & ~record.predicted
            assert not missing.any()
            if backend == "private-copy":
                assert record.verdict.kind == "upper bound"
            else:
                assert np.array_equal(record.pages, record.predicted), np.flatnonzero(extra)
                assert record.verdict.kind in ("exact", *allowed)
            check_tables(record, llama, step)


def check_tables(record, llama, step):
    """Every layer weight was needed whole; of the embedding table, the rows of these tokens."""
    for row in record.touched.by_kind():
        if row.name.startswith("layers.") or row.name in ("final_norm", "output"):
            assert row.fraction == 1.0, row
    embedding = llama.checkpoint.tensors["token_embedding"]
    row_bytes = embedding.n_bytes // embedding.shape[0]
    needed = np.zeros_like(record.pages)
    if llama.checkpoint.tied_output:
        step = range(embedding.shape[0])
    for token in step:
        first = embedding.offset + token * row_bytes
        needed[first // record.page_size : (first + row_bytes - 1) // record.page_size + 1] = True
    inside = slice(-(-embedding.offset // record.page_size), embedding.end // record.page_size)
    if record.verdict.kind != "upper bound" and not embedding.group_size:
        assert np.array_equal(record.pages[inside], needed[inside])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bundled_model_touches_the_pages_it_asks_for(bundled, backend):
    check(bundled, backend, allowed=("upper bound",) if backend == "mincore" else ())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_published_gguf_model_touches_the_pages_it_asks_for(real, backend):
    path = real / "models" / "stories260K.gguf"
    check(path, backend, allowed=("upper bound",) if backend == "mincore" else ())


@pytest.mark.parametrize(
    ("to", "stored"),
    [("ggjt-v1", "f32"), ("ggjt-v3", "q4_0"), ("ggml", "q4_1"), ("gguf", "q8_0"),
     ("gguf", "bf16"), ("safetensors", "f32")],
)  # fmt: skip
def test_every_way_of_storing_numbers_is_predicted(tmp_path, to, stored):
    path = tmp_path / ("model.safetensors" if to == "safetensors" else "model.bin")
    convert(bundled_checkpoint(), path, to=to, type=stored)
    check(path, "uffd")


def test_scales_that_lie_behind_their_numbers_are_predicted(tmp_path):
    path = tmp_path / "model_q80.bin"
    config = small_config(dim=240, hidden_dim=400, vocab_size=2000)
    weights = random_weights(config, np.random.default_rng(8))
    path.write_bytes(llama2c_v2(config, weights, group_size=80)[0])
    check(path, "uffd")


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_large_float32_model_touches_the_pages_it_asks_for(large, backend):
    check(large, backend, allowed=("upper bound",) if backend == "mincore" else ())


def test_the_naive_figure_is_far_below_the_true_one(bundled):
    """faults x page size under a tenth of the file while over nine tenths were read."""
    counts = {}
    for backend in ("faults", "auto"):
        with PageLab.open(bundled, backend) as lab, load(bundled, lab=lab) as llama:
            if backend == "auto" and lab.backend.name == "faults":
                pytest.skip("nothing here can measure the true figure")
            cache = KVCache(llama.config, 20)
            forward(llama.model, list(range(3, 13)), cache)  # the heap has its size after this
            with lab.record("decode") as record:
                for token in range(13, 23):
                    forward(llama.model, [token], cache)
            counts[backend] = record
    if counts["faults"].faults is None:
        pytest.skip("this system counts no faults")
    counts["auto"].plain_faults = counts["faults"].faults
    assert counts["auto"].naive_bytes < 0.1 * counts["auto"].file_bytes
    assert counts["auto"].n_touched > 0.9 * counts["auto"].n_pages
    assert str(counts["auto"]).count("Verdict: ") == 2
