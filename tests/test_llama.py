"""The front door: load, generate, logits, close; on small files and on a published model."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import reference
from helpers.small_models import (
    ggml_file,
    llama2c_v0,
    old_config,
    random_weights,
    sentencepiece_vocabulary,
    small_vocabulary,
    tokenizer_bin,
    write_meta_folder,
)

import llama_edu
from llama_edu import load
from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert
from llama_edu.errors import FormatError, RequestError
from llama_edu.matmul.product import matmul
from llama_edu.pages.lab import PageLab
from llama_edu.quality.losses import token_nats
from llama_edu.transformer.sampling import GREEDY


@pytest.fixture
def checkpoint(tmp_path, config, weights):
    """A llama2.c file with grouped heads and its tokenizer.bin beside it."""
    (tmp_path / "tokenizer.bin").write_bytes(tokenizer_bin(small_vocabulary()))
    path = tmp_path / "model.bin"
    path.write_bytes(llama2c_v0(config, weights))
    return path


@pytest.fixture
def files(tmp_path, rng, sentencepiece_model):
    """The same weights in every format of 2023, by name."""
    config = old_config()
    weights = random_weights(config, rng)
    pieces = sentencepiece_vocabulary(sentencepiece_model)
    paths = {}
    for name, magic, version in (("ggml", b"lmgg", 0), ("ggmf", b"fmgg", 1), ("ggjt", b"tjgg", 1)):
        paths[name] = tmp_path / f"{name}.bin"
        paths[name].write_bytes(ggml_file(config, weights, pieces, magic=magic, version=version))
    for n_shards in (1, 2):
        paths[f"meta{n_shards}"] = write_meta_folder(
            tmp_path / f"meta{n_shards}", config, weights, n_shards=n_shards,
            tokenizer=sentencepiece_model,
        )  # fmt: skip
    return paths, weights


def load_small(path, **kwargs):
    return load(path, tokenizer=path.with_name("tokenizer.bin"), **kwargs)


def test_logits_equal_the_slow_twin_from_file_to_score(checkpoint, config, weights):
    tokens = [1, 270, 5, 44, 99]
    with load_small(checkpoint) as llama:
        assert llama.config == config
        logits = llama.logits(tokens)
    assert logits.dtype == np.float32 and logits.shape == (5, 271)
    np.testing.assert_allclose(logits, reference.forward(config, weights, tokens), atol=1e-4)


def test_every_format_gives_the_same_logits(files):
    paths, weights = files
    tokens = [1, 5, 299, 77]
    expected = reference.forward(old_config(), weights, tokens)
    results = {}
    for name, path in paths.items():
        with load(path) as llama:
            results[name] = llama.logits(tokens)
    for logits in results.values():
        np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_array_equal(results["meta1"], results["meta2"])


@pytest.mark.parametrize("name", ["ggml", "ggmf", "ggjt", "meta1"])
def test_no_weight_owns_its_data_and_none_can_be_written(files, name):
    with load(files[0][name]) as llama:
        assert llama.loading.copied_bytes == 0
        assert llama.loading.mapped_bytes == llama.checkpoint.n_bytes
        assert len(llama.weights) == 21
        for weight in llama.weights.values():
            assert not weight.flags.owndata and not weight.flags.writeable
        with pytest.raises(TypeError):
            llama.weights["output"] = None
        del weight


def test_parts_are_joined_by_a_copy_and_the_cost_is_told(files):
    paths, weights = files
    with load(paths["meta2"]) as llama:
        matrices = sum(2 * array.size for array in weights.values() if array.ndim == 2)
        assert llama.loading.copied_bytes == matrices
        assert llama.loading.mapped_bytes == llama.checkpoint.n_bytes - matrices
        assert not any(weight.flags.writeable for weight in llama.weights.values())


def test_without_mmap_everything_is_read_and_nothing_else_changes(checkpoint):
    with load_small(checkpoint) as mapped, load_small(checkpoint, mmap=False) as copied:
        assert copied.loading.copied_bytes == mapped.loading.mapped_bytes
        assert copied.loading.mapped_bytes == 0
        assert all(weight.flags.owndata for weight in copied.weights.values())
        assert not any(weight.flags.writeable for weight in copied.weights.values())
        np.testing.assert_array_equal(copied.logits([1, 5]), mapped.logits([1, 5]))


def test_generate_yields_the_text_piece_by_piece(checkpoint):
    with load_small(checkpoint) as llama:
        settings = {"temperature": 1.3, "top_k": 50, "seed": 5}
        pieces = list(llama.generate("the", 12, **settings))
        assert pieces == list(llama.generate("the", 12, **settings))
        assert "".join(pieces) != "".join(llama.generate("the", 12, temperature=1.3, seed=6))
        generation = llama.generate_tokens("the", 12, GREEDY)
        text = "".join(token.text for token in generation)
        assert text == "".join(llama.generate("the", 12, temperature=0))
        assert generation.tokens[: generation.n_prompt] == llama.tokenizer.encode("the")
        assert llama.generate_tokens([1, 5], 0).tokens == [1, 5]


def test_chunked_logits_equal_those_of_the_slow_path(tmp_path, rng):
    config = old_config(vocab_size=280, max_seq_len=200)
    path = tmp_path / "m.bin"
    path.write_bytes(llama2c_v0(config, random_weights(config, rng)))
    tokens = rng.integers(0, 280, 150).tolist()
    with load(path) as llama:
        whole = llama.logits(tokens)
        np.testing.assert_allclose(llama.logits(tokens[:140])[-1], whole[139], atol=1e-4)


# --- closing ------------------------------------------------------------------------------------


def test_leaving_with_while_a_view_is_held_names_it(checkpoint):
    expected = r"1 views are still held \(layers.0.wq\)"
    with pytest.raises(BufferError, match=expected), load_small(checkpoint) as llama:
        held = llama.weights["layers.0.wq"]
    assert held[0, 0] == held[0, 0]  # still there, not a crash


def test_after_closing_the_error_says_so(checkpoint):
    with load_small(checkpoint) as llama:
        pass
    for use in (lambda: llama.logits([1]), lambda: llama.generate_tokens("x")):
        with pytest.raises(RequestError, match=r"model.bin: is closed; load it again"):
            use()
    llama.close()  # twice does no harm


def test_a_text_that_goes_on_after_its_file_was_closed_says_so(checkpoint):
    with load_small(checkpoint) as llama:
        steps = llama.generate("the", 20, seed=1)
        next(steps)
    with pytest.raises(RequestError, match=r"model.bin: is closed; load it again"):
        next(steps)


def test_an_interrupt_in_the_middle_of_a_product_stays_an_interrupt(checkpoint):
    """Its traceback holds views of the file; closing must not turn it into a BufferError."""
    count = 0

    def interrupted(x, w, *threads):
        nonlocal count
        count += 1
        if count == 30:
            raise KeyboardInterrupt
        return matmul(x, w, *threads)

    with pytest.raises(KeyboardInterrupt), load_small(checkpoint) as llama:
        llama.model = replace(llama.model, matmul=interrupted)
        list(llama.generate("the", 20, seed=1))


# --- requests that cannot be met ----------------------------------------------------------------


def test_impossible_requests_are_named(checkpoint):
    with load_small(checkpoint) as llama:
        cases = {
            "tokens: id 271 at position 1, expected 0 to 270": lambda: llama.logits([1, 271]),
            "tokens: id -1 at position 0": lambda: llama.logits([-1]),
            "tokens: none given, expected at least one": lambda: llama.logits([]),
            "tokens: 51 given, the model's context is 50": lambda: llama.logits([1] * 51),
            "seed is -1, expected 0 or more": lambda: llama.generate("a", seed=-1),
            "temperature is nan": lambda: llama.generate("a", temperature=float("nan")),
            "n_tokens is -3, expected 0 or more": lambda: llama.generate("a", -3),
            "prompt: has .* tokens, the model's context is 50": lambda: llama.generate("x" * 90),
            "text: character 1 is half a surrogate": lambda: llama.generate("a\udc80"),
        }
        for sentence, call in cases.items():
            with pytest.raises(RequestError, match=sentence):
                call()


def test_a_file_without_a_tokenizer_computes_but_cannot_read_text(checkpoint):
    with load(checkpoint) as llama:
        assert llama.logits([1, 2]).shape == (2, 271)
        with pytest.raises(RequestError, match=r"has no tokenizer, .* --tokenizer FILE"):
            llama.generate("a")


def test_another_models_tokenizer_is_named(checkpoint, sentencepiece_model):
    with pytest.raises(RequestError, match="has 300 pieces, the model has 271; this is another"):
        load(checkpoint, tokenizer=sentencepiece_model)
    with pytest.raises(FormatError, match="none: no such file"):
        load(checkpoint, tokenizer=checkpoint.with_name("none"))


def test_a_file_that_shrinks_before_its_weights_are_used_is_refused(checkpoint, monkeypatch):
    from llama_edu import loading as front_door

    def open_then_shrink(path, **options):
        found = open_checkpoint(path, **options)
        os.truncate(path, 1000)
        return found

    open_checkpoint = front_door.open_checkpoint
    monkeypatch.setattr(front_door, "open_checkpoint", open_then_shrink)
    with pytest.raises(FormatError, match=r"was changed after it was opened: .*, 1,000 now"):
        load(checkpoint)


def cut_off(path):
    os.truncate(path, 1000)


def write_over(path):
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(bytes(8))
    os.utime(path, ns=(1, 1))  # a clock that is coarse must not decide


CHANGES = pytest.mark.parametrize("change", [cut_off, write_over])
CHANGED = r"model.bin: was changed after it was opened: .*; open it again"


@CHANGES
def test_a_text_does_not_go_on_from_a_file_that_was_changed(checkpoint, change):
    with load_small(checkpoint) as llama:
        steps = llama.generate("the", 20, seed=1)
        next(steps)
        change(checkpoint)
        with pytest.raises(FormatError, match=CHANGED):
            next(steps)
        with pytest.raises(FormatError, match=CHANGED):
            llama.logits([1, 5])
        with pytest.raises(FormatError, match=CHANGED):
            token_nats(llama.model, [[1, 5, 9, 11]])


def test_scores_from_a_file_that_changed_meanwhile_are_not_given_out(checkpoint):
    def changing(x, w, *threads):
        write_over(checkpoint)
        return matmul(x, w, *threads)

    with load_small(checkpoint) as llama:
        llama.model = replace(llama.model, matmul=changing)
        with pytest.raises(FormatError, match=CHANGED):
            llama.logits([1, 5])


@pytest.mark.skipif(sys.platform != "linux", reason="pages are measured on Linux only")
@CHANGES
def test_a_lab_looks_at_its_own_mapping(checkpoint, change):
    with PageLab.open(checkpoint, "faults") as lab, load_small(checkpoint, lab=lab) as llama:
        llama.logits([1])
        change(checkpoint)
        with pytest.raises(FormatError, match=CHANGED):
            llama.logits([1])


def test_a_new_file_of_the_same_name_changes_nothing_for_who_has_the_old_one(checkpoint, tmp_path):
    with load_small(checkpoint) as llama:
        before = llama.logits([1, 5])
        (tmp_path / "new").write_bytes(bytes(1000))
        (tmp_path / "new").replace(checkpoint)
        np.testing.assert_array_equal(llama.logits([1, 5]), before)


def test_weights_in_memory_outlive_their_file(checkpoint):
    with load_small(checkpoint, mmap=False) as llama:
        before = llama.logits([1, 5])
        cut_off(checkpoint)
        np.testing.assert_array_equal(llama.logits([1, 5]), before)


def test_repr_tells_the_model(checkpoint):
    with load_small(checkpoint) as llama:
        assert repr(llama).startswith("Llama('model.bin', llama2.c v0, ")
        assert "dim 24, 3 layers, 6 heads, 271 pieces" in repr(llama)


# --- memory -------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps")
def test_loading_a_large_file_takes_no_memory_of_its_own(tmp_path):
    """A sparse file of 500 MB; private pages grow by less than 2 MB."""
    D, F, L, H, V, S = 1024, 2816, 9, 16, 4096, 64
    n_weights = V * D + L * (4 * D * D + 3 * D * F + 2 * D) + D
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.write(struct.pack("<7i", D, F, L, H, H, V, S))
        file.truncate(28 + 4 * (n_weights + S * (D // H)))
    assert path.stat().st_size > 4.5e8
    program = textwrap.dedent(
        """
        import sys, llama_edu
        def private_kb():
            lines = open("/proc/self/smaps_rollup").read().splitlines()
            return sum(int(line.split()[1]) for line in lines if line.startswith("Private"))
        with llama_edu.load(sys.argv[1]) as llama:
            pass
        before = private_kb()
        with llama_edu.load(sys.argv[1]) as llama:
            print(private_kb() - before, llama.loading.mapped_bytes)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    grown_kb, mapped_bytes = map(int, done.stdout.split())
    assert mapped_bytes > 4.5e8 and grown_kb < 2048


# --- a published model --------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", ["tok512.bin", "tok512.model"])
@pytest.mark.parametrize(("case", "prompt"), [(0, ""), (1, "Once upon a time")])
def test_stories260k_writes_the_published_story(real, tokenizer, case, prompt):
    """Ids and logits made by llama2.c's own run.c."""
    ids = [
        int(n) for n in (real / f"expected/stories260K_greedy{case}.ids.txt").read_text().split()
    ]
    expected = np.load(real / f"expected/stories260K_greedy{case}.logits.npy", allow_pickle=False)
    models = real / "models"
    with load(models / "stories260K.bin", tokenizer=models / tokenizer) as llama:
        generation = llama.generate_tokens(prompt, 256, GREEDY)
        text = "".join(token.text for token in generation)
        assert generation.tokens[: len(ids)] == ids[: len(generation.tokens)]
        assert len(generation.tokens) >= len(ids)
        logits = llama.logits(ids[: len(expected)])  # what follows the last id was not saved
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() < 2e-4
    story = (real / f"expected/stories260K_greedy{case}.txt").read_text().strip()
    assert story.startswith(prompt) and (prompt + text).startswith(story[:400])


def test_the_public_names_are_few_and_there():
    assert set(llama_edu.__all__) >= {"Llama", "LlamaEduError", "ModelConfig", "load"}
    assert all(hasattr(llama_edu, name) for name in llama_edu.__all__)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38], ids=["NaN", "infinite", "huge"])
def test_damaged_weights_give_scores_and_no_warning(tmp_path, config, weights, value):
    """Warnings are errors in these tests."""
    damaged = {name: array.copy() for name, array in weights.items()}
    for name in ("token_embedding", "layers.0.wq", "layers.0.w_gate", "final_norm"):
        damaged[name].flat[::3] = value
    (tmp_path / "m.bin").write_bytes(llama2c_v0(config, damaged))
    with load(tmp_path / "m.bin", threads=1, kernels="numpy") as llama:
        assert llama.logits([1, 2]).shape == (2, config.vocab_size)


def test_arithmetic_rounds_activations_of_quantized_weights(tmp_path):
    path = tmp_path / "q8.gguf"
    convert(bundled_checkpoint(), path, to="gguf", type="q8_0")
    tokens = [1, 5, 3, 11, 7]
    with load(path, arithmetic="float32") as exact, load(path, arithmetic="int8") as rounded:
        a, b = exact.logits(tokens), rounded.logits(tokens)
        assert exact.arithmetic == "float32" and rounded.arithmetic == "int8"
        difference = np.abs(a - b).max() / np.abs(a).max()
        assert 1e-4 < difference < 0.05
        assert "".join(rounded.generate("The fox", 3, temperature=0)) != ""
    with pytest.raises(RequestError, match="arithmetic is 'int2', expected one of"):
        load(path, arithmetic="int2")
    with pytest.raises(RequestError, match=r"arithmetic 'int4': not defined .* q8_0"):
        load(path, arithmetic="int4")


def test_compiled_kernels_multiply_the_same_rounded_activations(tmp_path):
    pytest.importorskip("numba")
    path = tmp_path / "q8.gguf"
    convert(bundled_checkpoint(), path, to="gguf", type="q8_0")
    x = np.random.default_rng(1).standard_normal((1, 256)).astype(np.float32)
    with (
        load(path, arithmetic="int8", kernels="jit") as jit,
        load(path, arithmetic="int8", kernels="numpy") as ours,
    ):
        a = jit.model.linear(x, "layers.0.wq")
        np.testing.assert_allclose(a, ours.model.linear(x, "layers.0.wq"), rtol=1e-4, atol=1e-5)
    with load(path, kernels="jit", arithmetic="float32") as exact:
        assert np.abs(a - exact.model.linear(x, "layers.0.wq")).max() > 1e-4
