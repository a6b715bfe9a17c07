"""tokenizer.model files of every setting."""

from __future__ import annotations

import pytest
from helpers.small_models import random_weights, small_config, write_meta_folder
from helpers.trained import trained
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.convert import convert
from llama_edu.errors import FormatError
from llama_edu.files.vocabularies.sentencepiece import read_sentencepiece
from llama_edu.loading import load
from llama_edu.tokenizer.normalization import Normalizer
from llama_edu.tokenizer.score_merge import ScoreMergeTokenizer
from llama_edu.tokenizer.sentencepiece import SentencePieceTokenizer
from llama_edu.vocabulary import USER_DEFINED

#: What differs from them: settings that a weight file can state, and those that it cannot.
SAID = {
    "LLaMA's own": {},
    "no dummy prefix": {"add_dummy_prefix": False},
    "no byte pieces": {"byte_fallback": False, "vocab_size": 60},
    "no BOS": {"bos_id": -1, "eos_id": 1},
    "normalization": {"normalization_rule_name": "nmt_nfkc"},
    "normalization and spaces": {
        "normalization_rule_name": "nmt_nfkc_cf",
        "remove_extra_whitespaces": True,
    },
    "user-defined pieces": {"user_defined_symbols": ["[ASK]", "geese", "[ASK]!"]},
}
UNSAID = {
    "model_type unigram": {"model_type": "unigram"},
    "model_type char": {"model_type": "char", "vocab_size": 280},
    "treat_whitespace_as_suffix": {"treat_whitespace_as_suffix": True},
}
TEXTS = [
    "The two geese", " Snow  fell ", "a\u4f60\u597d hill", "x[ASK]!y [ASK] geese",
    "\ufb01eld \uff21", "",
]  # fmt: skip


def with_bos(library, text):
    return ([library.bos_id()] if library.bos_id() >= 0 else []) + library.encode(text)


@pytest.mark.parametrize("name", [*SAID, *UNSAID])
def test_every_setting_is_read_as_the_library_reads_it(tmp_path, name):
    library = trained(tmp_path / "tokenizer.model", (SAID | UNSAID)[name])
    tokenizer = SentencePieceTokenizer(tmp_path / "tokenizer.model")
    for text in TEXTS:
        assert tokenizer.encode(text) == with_bos(library, text)


@pytest.mark.parametrize("name", SAID)
def test_what_a_weight_file_can_state_gives_the_same_ids_there(tmp_path, name):
    library = trained(tmp_path / "tokenizer.model", SAID[name])
    vocabulary = read_sentencepiece(tmp_path / "tokenizer.model")
    assert not vocabulary.unsaid
    merged = ScoreMergeTokenizer(vocabulary)
    for text in TEXTS:
        assert merged.encode(text) == with_bos(library, text)


def test_user_defined_pieces_keep_their_kind(tmp_path):
    library = trained(tmp_path / "tokenizer.model", SAID["user-defined pieces"])
    vocabulary = read_sentencepiece(tmp_path / "tokenizer.model")
    for text in ("[ASK]", "geese", "[ASK]!"):
        assert vocabulary.kinds[library.piece_to_id(text)] == USER_DEFINED


@given(st.text(st.sampled_from("[ASK]! geslanow\u4f60"), max_size=30))
def test_user_defined_pieces_are_found_as_the_library_finds_them(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "user-defined.model"
    if not path.exists():
        trained(path, SAID["user-defined pieces"])
    tokenizer = SentencePieceTokenizer(path)
    merged = ScoreMergeTokenizer(read_sentencepiece(path))
    assert merged.encode(text) == tokenizer.encode(text)


@pytest.mark.parametrize("name", UNSAID)
def test_what_no_weight_file_can_state_is_named_and_not_converted(tmp_path, rng, name):
    library = trained(tmp_path / "tokenizer.model", UNSAID[name])
    (said,) = read_sentencepiece(tmp_path / "tokenizer.model").unsaid
    assert said.startswith(name)
    config = small_config(vocab_size=library.vocab_size(), hidden_dim=72)
    folder = write_meta_folder(
        tmp_path / "model", config, random_weights(config, rng), params={"n_kv_heads": 2},
        tokenizer=tmp_path / "tokenizer.model",
    )  # fmt: skip
    with pytest.raises(FormatError, match=f"{name}: .*; text would become other tokens, so"):
        convert(folder, tmp_path / "m.gguf", to="gguf")
    assert not (tmp_path / "m.gguf").exists()
    with load(folder) as llama:  # the folder itself writes as ever
        assert llama.tokenizer.encode("Snow") == with_bos(library, "Snow")


def test_a_normalization_goes_into_gguf_and_from_there_into_a_folder(tmp_path, rng):
    library = trained(tmp_path / "tokenizer.model", SAID["normalization and spaces"])
    config = small_config(vocab_size=library.vocab_size(), hidden_dim=72)
    folder = write_meta_folder(
        tmp_path / "model", config, random_weights(config, rng), params={"n_kv_heads": 2},
        tokenizer=tmp_path / "tokenizer.model",
    )  # fmt: skip
    (named,) = convert(folder, tmp_path / "m.gguf", to="gguf").losses
    assert named.startswith("normalization of texts: is in the file, and llama.cpp does not")
    assert convert(tmp_path / "m.gguf", tmp_path / "folder", to="safetensors").losses == ()
    for path in ("m.gguf", "folder"):
        with load(tmp_path / path) as llama:
            for text in TEXTS:
                assert llama.tokenizer.encode(text) == with_bos(library, text), (path, text)


@given(
    st.text(
        st.sampled_from("Ab \u3000\uff21\ufb01\u00e9e\u0301\u2460\u00bd\n\t\u4f60"), max_size=20
    )
)
def test_a_text_is_changed_as_the_library_changes_it(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "normalizing.model"
    if not path.exists():
        trained(path, SAID["normalization and spaces"])
    merged = ScoreMergeTokenizer(read_sentencepiece(path))
    assert merged.encode(text) == SentencePieceTokenizer(path).encode(text)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (b"\1", "says 1 bytes of 1"),
        (b"\x08\0\0\0" + bytes(4), "says 8 bytes of 8"),
        (b"\x04\0\0\0\0\xff\xff\xff", "leads outside its table"),
    ],
)
def test_a_damaged_table_is_named(table, says):
    with pytest.raises(FormatError, match=says):
        Normalizer(table, False)("abc")
