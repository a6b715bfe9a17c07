"""Models with experts beside transformers and llama.cpp: they open, and score the same.

The wrong rule, without dividing the shares of the chosen experts by their sum, must fail.
"""

from __future__ import annotations

import numpy as np
import pytest
from helpers.mixtral_by_hand import (
    LAYOUTS,
    mixtral_config,
    mixtral_weights,
    write_gguf,
    write_huggingface,
)

from llama_edu.config import RopeScaling
from llama_edu.convert import convert
from llama_edu.convert.planning import TYPES
from llama_edu.errors import RequestError
from llama_edu.loading import load
from llama_edu.quants.blocks import BLOCK_TYPES
from llama_edu.reconcile.detective import local_errors, reconcile
from llama_edu.reconcile.reference import WholeReference, float64_reference
from llama_edu.rope import rope_frequencies
from llama_edu.transformer.experts import choose
from llama_edu.transformer.model import Model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:::(torch|transformers)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

#: Sizes that all differ; rows are whole blocks of 32.
SIZES = {"dim": 96, "hidden_dim": 64, "n_experts": 7, "rope_theta": 5e4, "vocab_size": 300}
CONFIGS = [
    mixtral_config(**SIZES),
    mixtral_config(**SIZES, n_experts_per_token=3, head_dim=10),
    mixtral_config(**SIZES, n_experts_per_token=1, rope_scaling=RopeScaling("linear", 2.5)),
]
TOKENS = np.random.default_rng(4).integers(3, 300, 40).tolist()

#: Largest difference of a logit over the largest logit. Two computations in float32 stay below.
SAME = 1e-5


def weights_of(config, seed=8):
    """Matrices that keep the size of what they multiply, and routers that hesitate a little."""
    return {
        name: x if x.ndim == 1 or name.endswith(".router") else x * np.float32(0.25)
        for name, x in mixtral_weights(config, seed).items()
    }


def distance(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


def undivided():
    """A tap that leaves the shares of the chosen experts as the router gave them."""
    found = {}

    def tap(name, x):
        if name.endswith(".router"):
            found["p"] = x.copy()
        if name.endswith(".shares"):
            return np.take_along_axis(found["p"], choose(found["p"], x.shape[1], ""), axis=1)
        return x

    return tap


def check_agrees(path, theirs):
    with load(path) as llama:
        found = distance(llama.logits(TOKENS), theirs)
        wrong = distance(llama.logits(TOKENS, tap=undivided()), theirs)
    print(f"difference {found:.1e}, without the division {wrong:.2f}")
    assert found < SAME
    assert wrong > 1000 * SAME


# --- transformers -------------------------------------------------------------------------------


@pytest.fixture
def transformers():
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


def logits_of_transformers(transformers, folder):
    import torch

    model = transformers.MixtralForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(torch.tensor([TOKENS])).logits[0].numpy()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("config", CONFIGS[:2])
def test_transformers_scores_the_same_in_both_layouts(tmp_path, transformers, config, layout):
    folder = write_huggingface(tmp_path, config, weights_of(config), layout,
                               head_dim=config.head_dim)  # fmt: skip
    check_agrees(folder, logits_of_transformers(transformers, folder))


@pytest.mark.parametrize("original", [True, False])
def test_what_transformers_writes_is_read(tmp_path, transformers, original):
    import torch

    torch.manual_seed(3)
    settings = transformers.MixtralConfig(
        vocab_size=300, hidden_size=48, intermediate_size=80, num_hidden_layers=3,
        num_attention_heads=6, num_key_value_heads=2, num_local_experts=5, num_experts_per_tok=2,
        max_position_embeddings=64, initializer_range=0.4,
    )  # fmt: skip
    made = transformers.MixtralForCausalLM(settings)
    made.save_pretrained(tmp_path / "made", save_original_format=original)
    check_agrees(tmp_path / "made", logits_of_transformers(transformers, tmp_path / "made"))
    with load(tmp_path / "made") as llama:
        names = {spec.stored_name for spec in llama.checkpoint.tensors.values()}
        assert any("gate_up_proj" in name for name in names) != original


@pytest.mark.parametrize("config", [CONFIGS[1], CONFIGS[2]])
def test_a_folder_that_we_write_is_what_transformers_computes(tmp_path, transformers, config):
    source = write_gguf(tmp_path, config, weights_of(config), "a tensor each")
    if config.rope_scaling is not None or config.head_dim != 16:  # the writer by hand has no keys
        from llama_edu.files.gguf.writer import write_gguf as write
        from llama_edu.files.layout import PlannedTensor

        weights = weights_of(config)
        planned = [PlannedTensor(name, "f32", x.shape) for name, x in weights.items()]
        with source.open("wb") as file:
            write(file, config, None, planned, lambda tensor: weights[tensor.name])
    convert(source, tmp_path / "made", to="safetensors")
    theirs = logits_of_transformers(transformers, tmp_path / "made")
    with load(source) as llama:
        assert distance(llama.logits(TOKENS), theirs) < SAME


def test_two_definitions_in_float64_agree_to_its_last_digits(transformers):
    from llama_edu.reconcile.referees import torch_by_hand, transformers_hooks

    for config in CONFIGS:
        model = Model(config, weights_of(config), rope_frequencies(config))
        reference = float64_reference(model, TOKENS)
        theirs = dict(torch_by_hand.steps(model, TOKENS))
        assert list(theirs) == list(reference.steps)
        for name, x in theirs.items():
            assert reference.errors(name, x).max() < 1e-12, name
        report = reconcile(transformers_hooks.steps(model, TOKENS), tuple(TOKENS), reference)
        assert report.agrees, report
        assert len(report.steps) == 3 * 13 + 3


# --- llama.cpp ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def referee():
    pytest.importorskip("llama_cpp")
    from llama_edu.reconcile.referees import llama_cpp

    return llama_cpp


@pytest.fixture(scope="module", params=[0, 1, 2], ids=["2 of 7", "3 of 7", "1 of 7"])
def source(request, tmp_path_factory):
    """A GGUF file of the experts' older layout, made ours."""
    config = mixtral_config(**SIZES, n_experts_per_token=(2, 3, 1)[request.param])
    folder = tmp_path_factory.mktemp("moe")
    path = write_gguf(folder, config, weights_of(config), "a tensor each")
    convert(path, folder / "f32.gguf", to="gguf")
    return path, folder / "f32.gguf"


def test_llama_cpp_scores_the_same(referee, source):
    theirs = referee.logits(source[1], TOKENS)
    with load(source[0]) as older:
        n_used = older.config.n_experts_per_token
    if n_used > 1:
        check_agrees(source[1], theirs)
        check_agrees(source[0], theirs)
    else:
        with load(source[1]) as llama:
            assert distance(llama.logits(TOKENS), theirs) < SAME


def test_every_step_of_llama_cpp_agrees(referee, source):
    with load(source[1]) as llama:
        reference = float64_reference(llama.model, TOKENS)
        theirs = referee.steps(source[1], llama.config, TOKENS)
        report = reconcile(theirs, tuple(TOKENS), reference, "llama.cpp")
        assert report.agrees, report
        assert len(report.steps) == 3 * 19 + 3
        del reference


def test_the_layout_of_before_april_2024_is_refused_by_llama_cpp_alone(referee, source):
    with pytest.raises(RequestError, match=r"llama\.cpp cannot open it"):
        referee.logits(source[0], TOKENS)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """The same with rows of 256 numbers and more, which K-quants need."""
    config = mixtral_config(**(SIZES | {"dim": 256, "hidden_dim": 512, "n_heads": 8}))
    folder = tmp_path_factory.mktemp("wide")
    path = write_gguf(folder, config, weights_of(config), "a tensor each")
    convert(path, folder / "f32.gguf", to="gguf")
    return path, folder / "f32.gguf"


@pytest.mark.parametrize("type_name", [name for name in TYPES if name != "keep"])
def test_every_type_opens_in_llama_cpp_and_is_multiplied_alike(referee, source, wide, type_name):
    original = (wide if BLOCK_TYPES[type_name].block_size == 256 else source)[1]
    path = original.with_name(f"as-{type_name}.gguf")
    convert(original, path, to="gguf", type=type_name)
    with load(path, kernels="numpy", arithmetic="int8") as llama:
        theirs = referee.steps(path, llama.config, TOKENS)
        rounding = dict.fromkeys(theirs, np.full(len(TOKENS), 1e-6))
        reference = WholeReference("llama.cpp", tuple(TOKENS), theirs, rounding)
        errors = local_errors(llama.model, reference).steps
    worst = max(errors, key=lambda step: float(step.errors.max()))
    print(f"{type_name}: {worst.name} {worst.errors.max():.1e}")
    assert worst.errors.max() < 5e-6, worst
