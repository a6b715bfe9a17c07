"""llama.cpp, read step by step through its evaluation callback, and its 8-bit products by ours.

Rounding to 8 bits jumps: a difference in the last bit of float32 may move a number by one of 127
levels, and from then on two correct programs drift apart. So products are compared where both are
given the same input, which is exact, and logits only within what that jump causes.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import llama_edu
from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert
from llama_edu.experiments.reconcile import reconcile, text_tokens
from llama_edu.reconcile.detective import local_errors
from llama_edu.reconcile.detective import reconcile as reconcile_steps
from llama_edu.reconcile.reference import WholeReference, float64_reference

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: Our name -> llama.cpp's number of a file type (enum llama_ftype).
FILE_TYPES = {
    "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "Q2_K": 10, "Q3_K_M": 12,
    "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30,
}  # fmt: skip


@pytest.fixture(scope="module")
def referee():
    pytest.importorskip("llama_cpp")
    from llama_edu.reconcile.referees import llama_cpp

    return llama_cpp


@pytest.fixture(scope="module")
def files(tmp_path_factory, referee):
    """The bundled model in f32, and as llama.cpp's own quantizer writes it."""
    from llama_cpp import llama_cpp as library

    referee.import_llama_cpp()
    folder = tmp_path_factory.mktemp("types")
    paths = {"f32": folder / "f32.gguf"}
    convert(bundled_checkpoint(), paths["f32"], to="gguf", type="f32")
    for name, number in FILE_TYPES.items():
        paths[name] = folder / f"{name}.gguf"
        settings = library.llama_model_quantize_default_params()
        settings.ftype, settings.nthread = number, 1
        source, made = bytes(paths["f32"]), bytes(paths[name])
        assert library.llama_model_quantize(source, made, ctypes.byref(settings)) == 0
    return paths


def test_all_three_models_agree_in_float32(real, referee):
    for path in (None, real / "models" / "stories260K.gguf"):
        result = reconcile(path, "llama.cpp")
        print(f"{result.subject}: logits {result.logits_error:.1e}")
        assert result.agrees and result.logits_error < 1e-6
        n_layers = (len(result.steps) - 3) // 17
        assert len(result.steps) == 17 * n_layers + 3


def test_its_float16_cache_is_named_at_the_first_step_that_reads_it(files, referee):
    with llama_edu.load(files["f32"], kernels="numpy", arithmetic="float32") as llama:
        tokens = text_tokens(llama)
        reference = float64_reference(llama.model, tokens)
        steps = referee.steps(files["f32"], llama.config, tokens, exact_cache=False)
    first = reconcile_steps(steps, tuple(tokens), reference).first
    assert first is not None and first.name == "layers.0.scores"
    assert 1e-5 < first.errors.max() < 1e-2


@pytest.mark.parametrize("kernels", ["numpy", "jit"])
@pytest.mark.parametrize("n_tokens", [1, 24])
@pytest.mark.parametrize("name", ["f32", *FILE_TYPES])
def test_every_step_agrees_given_the_same_input_with_activations_rounded(
    files, referee, name, n_tokens, kernels
):
    if kernels == "jit":
        pytest.importorskip("numba")
    with llama_edu.load(files[name], arithmetic="int8", kernels=kernels) as llama:
        tokens = tuple(text_tokens(llama, n_tokens=n_tokens))
        steps = referee.steps(files[name], llama.config, tokens)
        rounding = dict.fromkeys(steps, np.full(len(tokens), 1e-7))
        reference = WholeReference("llama.cpp", tokens, steps, rounding)
        rounded = local_errors(llama.model, reference)
        logits = llama.logits(tokens)
    with llama_edu.load(files[name], kernels="numpy", arithmetic="float32") as llama:
        exact = local_errors(llama.model, reference)
    largest = max(float(step.errors.max()) for step in rounded.steps)
    apart = float(np.abs(logits - steps["logits"]).max() / np.abs(steps["logits"]).max())
    print(f"{name}, {n_tokens} tokens, {kernels}: local error {largest:.1e}, logits {apart:.1e}")
    assert len(rounded.steps) == 105 and rounded.agrees and largest < 2e-6
    assert apart < 0.03
    if name != "f32":  # without rounding the products differ
        kinds = {step.name.rpartition(".")[2] for step in exact.wrong}
        assert kinds == {"q", "k", "v", "wo", "gate", "up", "down", "logits"}


def test_the_scores_function_gives_the_logits_of_the_steps(files, referee):
    with llama_edu.load(files["q8_0"]) as llama:
        tokens = text_tokens(llama)
        steps = referee.steps(files["q8_0"], llama.config, tokens)
    np.testing.assert_array_equal(referee.logits(files["q8_0"], tokens), steps["logits"])


def test_a_file_that_it_cannot_open_is_named(tmp_path, referee):
    path = tmp_path / "no.gguf"
    path.write_bytes(b"GGUF no")
    with pytest.raises(llama_edu.LlamaEduError, match=r"no\.gguf: llama\.cpp cannot open it"):
        referee.logits(path, [1])
