"""The bundled checkpoint: equal to PyTorch, in place, and the same text before and after."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from llama_edu import bundled_checkpoint, load
from llama_edu.convert import convert
from llama_edu.errors import LlamaEduError
from llama_edu.tokenizer.sentencepiece import SentencePieceTokenizer
from llama_edu.tokenizer.streaming import decode
from llama_edu.transformer.sampling import GREEDY, SamplingSettings

GOLDEN = Path(__file__).parent / "golden" / "stories_logits.npz"
MAKE_GOLDEN = Path(__file__).parents[1] / "tools" / "make_golden.py"


@pytest.fixture(scope="module")
def stories() -> Path:
    try:
        return bundled_checkpoint()
    except LlamaEduError:
        pytest.skip("the bundled checkpoint is not there")


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def converted(stories, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stories") / "stories.ggjt"
    convert(stories, path, to="ggjt-v1", type="f16")
    return path


def test_the_stored_logits_belong_to_this_checkpoint(stories, golden):
    """Where this fails, run tools/make_golden.py again."""
    for name, expected in zip(golden["files"], golden["sha256"], strict=True):
        found = hashlib.sha256((stories / str(name)).read_bytes()).hexdigest()
        assert found == expected, f"{name} changed after tools/make_golden.py was run"
    assert {str(name) for name in golden["files"]} == {
        path.name for path in stories.iterdir() if path.suffix in (".pth", ".model", ".json")
    }


@pytest.mark.parametrize("ids", ["story", "random"])
def test_our_logits_equal_those_of_pytorch(stories, golden, ids):
    with load(stories) as llama:
        logits = llama.logits(golden[f"{ids}_ids"].tolist())
    difference = np.abs(logits - golden[f"{ids}_logits"]).max()
    assert difference < 1e-4, difference


def test_greedy_generation_tells_the_story_that_pytorch_tells(stories, golden):
    story = golden["story_ids"].tolist()
    with load(stories) as llama:
        generation = llama.generate_tokens("", len(story) - 1, GREEDY)
        assert [1, *(token.id for token in generation)] == story


@pytest.mark.slow
def test_the_stored_logits_can_be_made_again(stories, golden):
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("make_golden", MAKE_GOLDEN)
    make_golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_golden)
    again = make_golden.compute(stories)
    assert set(again) == set(golden)
    for name, expected in golden.items():
        if name.endswith("logits"):
            np.testing.assert_allclose(again[name], expected, atol=2e-5)
        else:
            np.testing.assert_array_equal(again[name], expected)


def test_the_golden_file_is_small():
    assert GOLDEN.stat().st_size < 400_000


def test_the_story_is_the_same_before_and_after_conversion(stories, converted):
    settings = SamplingSettings(temperature=0.8)
    with load(stories) as before, load(converted) as after:
        for chosen, seed in ((GREEDY, None), (settings, 1)):
            texts = []
            for llama in (before, after):
                generation = llama.generate_tokens("Once upon a time", 40, chosen, seed=seed)
                text = "".join(token.text for token in generation)
                texts.append((generation.tokens, text))
            assert texts[0] == texts[1]


def test_the_one_file_is_mapped_and_the_two_parts_are_copied(stories, converted):
    with load(stories) as before, load(converted) as after:
        assert after.loading.copied_bytes == 0 < before.loading.copied_bytes
        assert not any(weight.flags.owndata for weight in after.weights.values())


def test_it_is_shaped_as_the_formats_of_2023_need_it(stories):
    with load(stories) as llama:
        config = llama.config
    assert config.n_kv_heads == config.n_heads and config.rope_theta == 10000
    assert config.norm_eps == 1e-6 and config.hidden_dim % 256 == config.dim % 256 == 0
    assert sum(path.stat().st_size for path in stories.iterdir()) < 12e6


def test_the_converted_file_encodes_as_its_tokenizer_does(stories, converted):
    theirs = SentencePieceTokenizer(stories / "tokenizer.model")
    with load(converted) as llama:
        for text in (
            "Once upon a time, there was a small fox.", '"Why?" said Mia.\n\nTom smiled.', "  two",
            "Zoë met \U0001f98a in Kraków", "\ttab", "",
        ):  # fmt: skip
            ids = llama.tokenizer.encode(text)
            assert ids == theirs.encode(text)
            assert decode(llama.tokenizer, ids) == text
