"""Ids, names and ends of GGUF files against llama.cpp."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.special_vocabularies import TEXTS, VOCABULARIES, Judge, spm, write
from hypothesis import HealthCheck, given, settings

from llama_edu.files.layout import TypedValue
from llama_edu.loading import load

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=VOCABULARIES)
def pair(request, tmp_path_factory):
    """Our tokenizer of a file, and llama.cpp's."""
    vocabulary = VOCABULARIES[request.param]
    path = tmp_path_factory.mktemp("peers") / "m.gguf"
    write(path, vocabulary)
    with load(path) as llama:
        yield llama.tokenizer, Judge(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
def test_ids_equal_llama_cpps_with_and_without_special_pieces(pair, text):
    ours, judge = pair
    for special in (False, True):
        found = ours.encode(text, bos=False, special=special)
        assert found == judge.encode(text, False, special), (text, special)
        assert ours.encode(text, special=special) == judge.encode(text, True, special)


def test_names_and_ends_are_llama_cpps(pair):
    ours, judge = pair
    assert [ours.name(t) for t in range(len(ours))] == [judge.name(t) for t in range(judge.n)]
    assert set(ours.end_ids) == judge.ends()


@pytest.mark.parametrize("keys", [
    {}, {"tokenizer.ggml.eot_token_id": TypedValue("u32", 262)},
    {"tokenizer.ggml.eot_token_id": TypedValue("u32", 262),
     "tokenizer.ggml.eom_token_id": TypedValue("u32", 261)},
    {"tokenizer.ggml.eot_token_id": TypedValue("u32", 2**32 - 1)},
])  # fmt: skip
def test_the_ends_that_keys_name_are_llama_cpps(tmp_path, keys):
    write(tmp_path / "m.gguf", spm(), keys)
    with load(tmp_path / "m.gguf") as llama:
        assert set(llama.tokenizer.end_ids) == Judge(tmp_path / "m.gguf").ends()


def test_the_ends_of_a_folder_are_llama_cpps_after_conversion(tmp_path):
    write(tmp_path / "m.gguf", replace(spm(), other_end_ids=(261, 262)))
    with load(tmp_path / "m.gguf") as llama:
        ends = Judge(tmp_path / "m.gguf").ends()
        assert {2, 261, 262} < ends == set(llama.tokenizer.end_ids)


@settings(max_examples=200)
@given(TEXTS)
def test_the_published_models_give_llama_cpps_ids(published, text):
    for ours, judge in published:
        for special in (False, True):
            assert ours.encode(text, special=special) == judge.encode(text, True, special)


@pytest.fixture(scope="module")
def published(real):
    paths = [real / "models" / name for name in ("stories260K.gguf", "tiny-random-llama.gguf")]
    opened = [load(path) for path in paths]
    yield [(llama.tokenizer, Judge(path)) for llama, path in zip(opened, paths, strict=True)]
    for llama in opened:
        llama.close()
