"""Conversion: the same numbers afterwards, one file or none, and clear refusals."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pytest
from helpers.opened import read_ggml
from helpers.small_models import (
    ggml_file,
    llama2c_v0,
    meta_name,
    names_in,
    old_config,
    pth_file,
    random_weights,
    sentencepiece_vocabulary,
    shard_of,
    small_config,
    small_vocabulary,
    tokenizer_bin,
    write_ggml_shards,
    write_meta_folder,
)

from llama_edu.convert import convert
from llama_edu.errors import FormatError, LlamaEduError, RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.mapped import MappedFile
from llama_edu.loading import load
from llama_edu.transformer.sampling import GREEDY, SamplingSettings


@pytest.fixture
def config():
    return old_config()


@pytest.fixture
def folder(tmp_path, config, weights, sentencepiece_model):
    return write_meta_folder(
        tmp_path / "meta", config, weights, n_shards=2, tokenizer=sentencepiece_model
    )


@pytest.mark.parametrize("dtype", ["f16", "f32"])
def test_one_two_and_four_shards_become_the_same_bytes(
    tmp_path, config, weights, sentencepiece_model, dtype
):
    files = []
    for n_shards in (1, 2, 4):
        folder = write_meta_folder(
            tmp_path / f"meta{n_shards}", config, weights, n_shards=n_shards,
            tokenizer=sentencepiece_model,
        )  # fmt: skip
        done = convert(folder, tmp_path / f"{n_shards}.ggjt", to="ggjt-v1", type=dtype)
        assert (done.joined_bytes > 0) == (n_shards > 1)
        files.append((tmp_path / f"{n_shards}.ggjt").read_bytes())
    assert files[0] == files[1] == files[2]


def test_shards_of_2023_and_shards_of_meta_become_the_same_bytes(
    tmp_path, config, weights, folder, sentencepiece_model
):
    path = write_ggml_shards(
        tmp_path / "old.bin", 2, config, weights, sentencepiece_vocabulary(sentencepiece_model),
        magic=b"fmgg",
    )  # fmt: skip
    convert(path, tmp_path / "a.ggjt")
    convert(folder, tmp_path / "b.ggjt")
    assert (tmp_path / "a.ggjt").read_bytes() == (tmp_path / "b.ggjt").read_bytes()


def test_the_text_before_and_after_conversion_is_the_same_token_for_token(tmp_path, folder):
    convert(folder, tmp_path / "model.ggjt", to="ggjt-v1", type="f16")
    settings = SamplingSettings(temperature=1.2, top_k=40, top_p=0.95, repeat_penalty=1.1)
    with load(folder) as before, load(tmp_path / "model.ggjt") as after:
        for prompt in ("", "The fox"):
            for chosen, seed in ((GREEDY, None), (settings, 1), (settings, 2)):
                texts = []
                for llama in (before, after):
                    generation = llama.generate_tokens(prompt, 30, chosen, seed=seed)
                    pieces = [token.text for token in generation]
                    texts.append((generation.tokens, pieces))
                assert texts[0] == texts[1] and len(texts[0][0]) > 3


@pytest.mark.parametrize("dtype", ["f32", "f16"])
def test_every_number_of_a_conversion_is_the_number_of_the_source(tmp_path, folder, weights, dtype):
    convert(folder, tmp_path / "model.ggjt", type=dtype)
    checkpoint = read_ggml(tmp_path / "model.ggjt")
    with MappedFile(tmp_path / "model.ggjt") as mapped:
        for name, expected in weights.items():
            spec = checkpoint.tensors[name]
            assert spec.type == (dtype if expected.ndim == 2 else "f32")
            np.testing.assert_array_equal(mapped.view(spec).astype(np.float32), expected)


def test_f32_becomes_f16_by_rounding_to_the_nearest(tmp_path, config, rng, sentencepiece_model):
    weights = random_weights(config, rng)
    exact = {n: a + (a.ndim == 2) * np.float32(1e-5) for n, a in weights.items()}
    folder = write_meta_folder(
        tmp_path / "meta", config, exact, dtype="<f4", tokenizer=sentencepiece_model
    )
    convert(folder, tmp_path / "model.ggjt", type="f16")
    checkpoint = read_ggml(tmp_path / "model.ggjt")
    with MappedFile(tmp_path / "model.ggjt") as mapped:
        found = mapped.view(checkpoint.tensors["output"]).copy()
    np.testing.assert_array_equal(found, exact["output"].astype(np.float16))


def test_a_tied_output_is_written_twice(tmp_path, rng):
    config = old_config(vocab_size=280, max_seq_len=16)
    weights = random_weights(config, rng, tied=True)
    folder = write_meta_folder(tmp_path / "meta", config, weights)
    (tmp_path / "t.bin").write_bytes(tokenizer_bin(small_vocabulary(280)))
    convert(folder, tmp_path / "model.ggjt", tokenizer=tmp_path / "t.bin")
    expected = ggml_file(
        config, weights | {"output": weights["token_embedding"]}, small_vocabulary(280)
    )
    assert (tmp_path / "model.ggjt").read_bytes() == expected


def test_progress_ends_at_the_whole(tmp_path, folder):
    seen = []
    convert(
        folder, tmp_path / "model.ggjt", progress=lambda done, total: seen.append((done, total))
    )
    dones, totals = zip(*seen, strict=True)
    assert list(dones) == sorted(dones) and dones[-1] == totals[0] and len(set(totals)) == 1


def test_the_summary_says_what_was_done(tmp_path, folder):
    text = str(convert(folder, tmp_path / "model.ggjt"))
    assert "ggjt-v1, 21 tensors (16 f16, 5 f32)" in text
    assert "joined from shards" in text


def test_converting_needs_memory_for_a_few_tensors_and_not_for_the_model(
    tmp_path, rng, sentencepiece_model
):
    config = old_config(dim=256, hidden_dim=768, n_layers=4, n_heads=8, n_kv_heads=8)
    weights = random_weights(config, rng)
    total = 4 * sum(array.size for array in weights.values())
    largest = 4 * max(array.size for array in weights.values())
    folder = write_meta_folder(
        tmp_path / "meta", config, weights, n_shards=2, multiple_of=256,
        tokenizer=sentencepiece_model,
    )  # fmt: skip
    del weights
    convert(folder, tmp_path / "warm.ggjt", type="f32")
    tracemalloc.start()
    convert(folder, tmp_path / "model.ggjt", type="f32")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * largest + 500_000 < total / 3


# --- refusals -----------------------------------------------------------------------------------


def test_what_the_format_cannot_express_is_named(tmp_path, config, rng, sentencepiece_model):
    cases = {
        "grouped": (
            small_config(hidden_dim=64),
            {"n_kv_heads": 2},
            r"grouped-query heads \(2 for 6",
        ),
        "theta": (config, {"rope_theta": 5e5}, "rope_theta 500000"),
        "eps": (config, {"norm_eps": 1e-5}, "norm_eps 1e-05"),
        "scaling": (config, {"use_scaled_rope": True}, "rope scaling"),
        "both": (config, {"rope_theta": 5e5, "norm_eps": 1e-5}, "rope_theta 500000 and norm_eps"),
    }
    for name, (sizes, params, sentence) in cases.items():
        folder = write_meta_folder(
            tmp_path / name, sizes, random_weights(sizes, rng), params=params,
            multiple_of=24 if sizes is config else 16,
        )  # fmt: skip
        with pytest.raises(FormatError, match=f"{sentence}.*convert to gguf"):
            convert(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_weight_too_large_for_f16_is_named(tmp_path, config, weights, sentencepiece_model):
    weights["layers.1.w_up"][3, 4] = 7e4
    folder = write_meta_folder(
        tmp_path / "meta", config, weights, dtype="<f4", tokenizer=sentencepiece_model
    )
    with pytest.raises(LlamaEduError, match=r"w_up: .* is 70000, too large for .*convert to f32"):
        convert(folder, tmp_path / "out", type="f16")
    assert names_in(tmp_path) == ["meta"]


def test_shards_that_a_format_does_not_have_are_refused(tmp_path, folder):
    with pytest.raises(RequestError, match="gguf is always one file, expected ggml or ggmf for 2"):
        convert(folder, tmp_path / "out", to="gguf", shards=2)
    with pytest.raises(RequestError, match="shards is 0, expected 1 or more"):
        convert(folder, tmp_path / "out", to="ggmf", shards=0)


def test_unknown_formats_and_types_are_named(tmp_path, folder):
    with pytest.raises(RequestError, match="cannot write 'ggla', expected one of ggml, ggmf, ggjt"):
        convert(folder, tmp_path / "out", to="ggla")
    with pytest.raises(RequestError, match="cannot write type 'f8', expected one of keep, f32"):
        convert(folder, tmp_path / "out", type="f8")


def test_a_source_without_a_vocabulary_asks_for_one(tmp_path, config, weights):
    folder = write_meta_folder(tmp_path / "meta", config, weights)
    with pytest.raises(FormatError, match=r"has no vocabulary, and no tokenizer.model is next"):
        convert(folder, tmp_path / "out")


def test_a_tokenizer_of_another_size_is_named(tmp_path, config, rng, sentencepiece_model):
    config = old_config(vocab_size=299)
    folder = write_meta_folder(tmp_path / "meta", config, random_weights(config, rng))
    with pytest.raises(RequestError, match="has 300 pieces, the model has 299; this is another"):
        convert(folder, tmp_path / "out", tokenizer=sentencepiece_model)


def test_a_file_is_not_converted_onto_itself(tmp_path, folder, monkeypatch):
    convert(folder, tmp_path / "model.ggjt")
    before = (tmp_path / "model.ggjt").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "model.ggjt")
    for destination in (tmp_path / "model.ggjt", tmp_path / "link"):
        with pytest.raises(FormatError, match="is the source itself; choose another destination"):
            convert(tmp_path / "model.ggjt", destination)
    with pytest.raises(FormatError, match="is the source itself"):
        convert(folder, folder / "consolidated.01.pth")
    assert (tmp_path / "model.ggjt").read_bytes() == before


def test_an_output_folder_that_does_not_exist_is_named(tmp_path, folder):
    with pytest.raises(FormatError, match="none: no such folder; create it, or choose another"):
        convert(folder, tmp_path / "none" / "model.ggjt")


def test_an_llama2c_file_without_grouped_heads_still_differs_in_its_epsilon(tmp_path, rng):
    config = old_config(vocab_size=280)
    (tmp_path / "m.bin").write_bytes(llama2c_v0(config, random_weights(config, rng)))
    (tmp_path / "t.bin").write_bytes(tokenizer_bin(small_vocabulary(280)))
    with pytest.raises(FormatError, match="norm_eps 1e-05"):
        convert(tmp_path / "m.bin", tmp_path / "out", tokenizer=tmp_path / "t.bin")


@pytest.mark.parametrize("source", ["one mapped file", "shards to join"])
def test_a_full_disk_leaves_the_old_destination_and_no_temporary_file(tmp_path, folder, source):
    """A limit on the size of files stands for the disk: write(2) fails half way either way."""
    if source == "one mapped file":
        convert(folder, tmp_path / "source.ggjt", type="f32")
        folder = tmp_path / "source.ggjt"
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.ggjt").write_bytes(b"old")
    program = textwrap.dedent(
        """
        import resource, sys
        from llama_edu.cli import main
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        sys.exit(main(["convert", sys.argv[1], sys.argv[2]]))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), str(out / "model.ggjt")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "model.ggjt: writing failed (File too large); nothing was changed" in done.stderr
    assert "Traceback" not in done.stderr
    assert names_in(out) == ["model.ggjt"] and (out / "model.ggjt").read_bytes() == b"old"


def test_a_source_that_breaks_on_the_way_leaves_nothing(tmp_path, folder, monkeypatch):
    def fail(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(folder, tmp_path / "model.ggjt", progress=fail)
    assert names_in(tmp_path) == ["meta"]


def test_the_ftype_is_that_of_most_matrices_and_the_same_every_time(tmp_path, config, weights):
    """Half of the matrices f16, half f32: the first of the two counts, whatever the hash seed."""
    (tmp_path / "t.bin").write_bytes(tokenizer_bin(small_vocabulary(300)))
    names = [name for name, array in weights.items() if array.ndim == 2]
    halves = set(names[::2])
    arrays = {
        meta_name(n): shard_of(n, a, 0, 1).astype("<f2" if n in halves else "<f4")
        for n, a in weights.items()
    }
    folder = write_meta_folder(tmp_path / "meta", config, weights)
    (folder / "consolidated.00.pth").write_bytes(pth_file(arrays))
    convert(folder, tmp_path / "out", tokenizer=tmp_path / "t.bin")
    checkpoint = read_checkpoint(tmp_path / "out")
    assert len(halves) == len(names) / 2 and checkpoint.metadata["ftype"] == 1
