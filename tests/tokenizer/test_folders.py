"""What JSON files beside a tokenizer say, as transformers reads them."""

from __future__ import annotations

import json

import pytest
from helpers.huggingface_by_hand import hugging_config, to_huggingface
from helpers.small_models import random_weights, small_config
from helpers.trained import trained

from llama_edu.convert import convert
from llama_edu.files.vocabularies.sentencepiece import read_sentencepiece
from llama_edu.loading import load
from llama_edu.tokenizer.sentencepiece import SentencePieceTokenizer


def folder_with(folder, **stated):
    """A tokenizer.model of LLaMA's settings with these keys in its tokenizer_config.json."""
    folder.mkdir(exist_ok=True)
    library = trained(folder / "tokenizer.model", {})
    n = library.vocab_size()
    added = {
        str(n): {"content": "[ASK]", "special": False, "normalized": False},
        str(n + 1): {"content": "<im>", "special": True, "normalized": False},
    }
    config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config |= {"tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": added} | stated
    (folder / "tokenizer_config.json").write_text(
        json.dumps({key: value for key, value in config.items() if value is not ...})
    )
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return library, SentencePieceTokenizer(folder / "tokenizer.model", n + 2)


def test_add_bos_token_decides_about_bos(tmp_path):
    library, tokenizer = folder_with(tmp_path, add_bos_token=False)
    assert tokenizer.encode("Snow") == library.encode("Snow") and not tokenizer.adds_bos
    assert not read_sentencepiece(tmp_path / "tokenizer.model").add_bos
    library, tokenizer = folder_with(tmp_path, add_bos_token=True)
    assert tokenizer.encode("Snow") == [1, *library.encode("Snow")]
    _, tokenizer = folder_with(tmp_path, bos_token=None)
    assert not tokenizer.adds_bos and tokenizer.bos_id == -1


def test_a_tokenizer_model_that_no_json_describes_is_read_as_it_is(tmp_path):
    """A config.json says nothing about texts: BOS is put in front."""
    library, _ = folder_with(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    tokenizer = SentencePieceTokenizer(tmp_path / "tokenizer.model", library.vocab_size())
    for text in ("Snow fell", " Snow", "Snow  fell"):
        assert tokenizer.encode(text) == [library.bos_id(), *library.encode(text)]


def test_the_ends_are_the_tokens_that_the_folder_names(tmp_path):
    library, tokenizer = folder_with(tmp_path, bos_token="<im>", eos_token={"content": "[ASK]"})
    n = library.vocab_size()
    assert (tokenizer.bos_id, tokenizer.eos_id) == (n + 1, n)
    _, tokenizer = folder_with(tmp_path, bos_token="not there")
    assert tokenizer.bos_id == library.bos_id()


def test_add_prefix_space_decides_about_the_space_in_front(tmp_path):
    bare = trained(tmp_path / "bare.model", {"add_dummy_prefix": False})
    _, tokenizer = folder_with(tmp_path, add_prefix_space=False)
    assert tokenizer.encode("Snow fell", bos=False) == bare.encode("Snow fell")
    assert not tokenizer.adds_space
    assert not read_sentencepiece(tmp_path / "tokenizer.model").add_space_prefix


def test_legacy_decides_about_the_space_after_an_added_token(tmp_path):
    library, tokenizer = folder_with(tmp_path, legacy=True)
    ask = library.vocab_size()
    assert tokenizer.encode("[ASK]Snow", bos=False) == [ask, *library.encode("Snow")]
    bare = trained(tmp_path / "bare.model", {"add_dummy_prefix": False})
    _, tokenizer = folder_with(tmp_path, legacy=False)
    assert tokenizer.encode("[ASK]Snow", bos=False) == [ask, *bare.encode("Snow")]
    # and before a text that begins with a space there is no second one
    assert tokenizer.encode(" Snow", bos=False) == bare.encode(" Snow")


# --- every class, with and without a tokenizer.json ----------------------------------------------

TEXTS = (
    "Snow fell", " Snow", "  Snow", "Snow[ASK]fell", "Snow[ASK] fell", "[ASK]Snow",
    "[ASK] Snow", "[ASK][ASK]", " ", "\nSnow", "a\u4f60b", "",
)  # fmt: skip

#: What tokenizer_config.json says -> whether there is BOS, and "Snow fell", " Snow" and
#: "Snow[ASK]fell" as transformers 5.24 cuts them.
STATED = {
    (): (False, "_Snow_fell", "__Snow", "_Snow[ASK]_fell"),
    (("legacy", True),): (False, "_Snow_fell", "__Snow", "_Snow[ASK]_fell"),
    (("legacy", False),): (False, "_Snow_fell", "_Snow", "_Snow[ASK]fell"),
    (("add_prefix_space", False),): (False, "_Snow_fell", "__Snow", "_Snow[ASK]_fell"),
    (("add_bos_token", True),): (True, "_Snow_fell", "__Snow", "_Snow[ASK]_fell"),
    (("add_eos_token", True),): (False, "_Snow_fell", "__Snow", "_Snow[ASK]_fell"),
    (("tokenizer_class", "LlamaTokenizer"),): (False, "_Snow_fell", "_Snow", "_Snow[ASK]fell"),
    (("tokenizer_class", "LlamaTokenizerFast"), ("add_bos_token", True)): (
        True, "_Snow_fell", "_Snow", "_Snow[ASK]fell",
    ),
    (("tokenizer_class", "LlamaTokenizer"), ("legacy", True)): (
        False, "_Snow_fell", "_Snow", "_Snow[ASK]_fell",
    ),
    (("tokenizer_class", "LlamaTokenizer"), ("add_prefix_space", False)): (
        False, "Snow_fell", "_Snow", "Snow[ASK]fell",
    ),
    (("tokenizer_class", "CodeLlamaTokenizer"),): (True, "_Snow_fell", "_Snow", "_Snow[ASK]fell"),
    (("tokenizer_class", "PreTrainedTokenizerFast"), ("legacy", False)): (
        False, "_Snow_fell", "_Snow", "_Snow[ASK]fell",
    ),
    (("tokenizer_class", "LlamaTokenizer"), ("model_type", "mistral")): (
        False, "_Snow_fell", "__Snow", "_Snow[ASK]_fell",
    ),
}  # fmt: skip


def stated_folder(folder, stated):
    """A folder with these keys and no more; `model_type` goes to its config.json."""
    values = {"tokenizer_class": ..., **dict(stated)}
    model_type = values.pop("model_type", "llama")
    library, _ = folder_with(folder, **values)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return SentencePieceTokenizer(folder / "tokenizer.model", library.vocab_size() + 2)


def cut(tokenizer, text):
    ids = tokenizer.encode(text, bos=False)
    return b"".join(map(tokenizer.piece, ids)).decode().replace(" ", "_")


@pytest.mark.parametrize("stated", STATED)
def test_each_class_puts_its_own_things_around_a_text(tmp_path, stated):
    tokenizer = stated_folder(tmp_path, stated)
    found = [cut(tokenizer, text) for text in ("Snow fell", " Snow", "Snow[ASK]fell")]
    assert (tokenizer.adds_bos, *found) == STATED[stated]


#: A tokenizer.json beside the tokenizer.model -> whether a space is put before a text, doubled, and
#: put before every part.
PREPEND = {"normalizer": {"type": "Prepend", "prepend": "\u2581"}, "pre_tokenizer": None}


def metaspace(scheme):
    step = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": False}
    return {"normalizer": None, "pre_tokenizer": step}


WRITTEN = {
    "prepend": (PREPEND, (True, True, True)),
    "first": (metaspace("first"), (True, False, False)),
    "always": (metaspace("always"), (True, False, True)),
    "never": (metaspace("never"), (False, False, False)),
}


def template(bos, eos):
    special = [[{"SpecialToken": {"id": text, "type_id": 0}}] for text in ("<s>", "</s>")]
    single = [*(special[0] * bos), {"Sequence": {"id": "A", "type_id": 0}}, *(special[1] * eos)]
    ids = {"<s>": 1, "</s>": 2}
    return {
        "type": "TemplateProcessing", "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in ids.items()},
    }  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_a_tokenizer_json_decides_where_no_class_does(tmp_path, name):
    steps, expected = WRITTEN[name]
    folder_with(tmp_path, tokenizer_class=..., add_bos_token=False, legacy=True)
    (tmp_path / "tokenizer.json").write_text(json.dumps(steps | {"post_processor": None}))
    found = read_sentencepiece(tmp_path / "tokenizer.model")
    assert (found.add_space_prefix, found.doubles_space, found.prefixes_every_part) == expected
    folder_with(tmp_path, tokenizer_class="LlamaTokenizer")  # its class overrules the steps
    found = read_sentencepiece(tmp_path / "tokenizer.model")
    assert found.add_space_prefix and not found.doubles_space and not found.prefixes_every_part


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("eos", [True, False])
def test_the_template_of_a_tokenizer_json_overrules_what_is_stated(tmp_path, bos, eos):
    folder_with(tmp_path, add_bos_token=not bos, add_eos_token=not eos)
    written = PREPEND | {"post_processor": template(bos, eos)}
    (tmp_path / "tokenizer.json").write_text(json.dumps(written))
    found = read_sentencepiece(tmp_path / "tokenizer.model")
    assert (found.add_bos, found.add_eos) == (bos, eos)


def test_eos_is_never_put_after_a_text_that_is_to_be_continued(tmp_path):
    tokenizer = stated_folder(tmp_path, [("add_eos_token", True)])
    assert read_sentencepiece(tmp_path / "tokenizer.model").add_eos
    assert 2 not in tokenizer.encode("Snow")


# --- to GGUF and back ----------------------------------------------------------------------------


def model_folder(folder, rng, stated, tokenizer_json=None):
    """A folder with weights, so that it can be converted."""
    from safetensors.numpy import save_file

    tokenizer = stated_folder(folder, stated)
    config = small_config(vocab_size=tokenizer.vocab_size)
    weights = to_huggingface(config, random_weights(config, rng))
    save_file(weights, folder / "model.safetensors")
    model_type = dict(stated).get("model_type", "llama")
    (folder / "config.json").write_text(
        json.dumps(hugging_config(config, model_type=model_type, bos_token_id=1, eos_token_id=2))
    )
    if tokenizer_json:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json))
    return folder


@pytest.mark.parametrize("stated", STATED)
def test_gguf_gives_the_same_ids_or_the_difference_is_named(tmp_path, rng, stated):
    pytest.importorskip("safetensors")
    folder = model_folder(tmp_path / "folder", rng, stated)
    losses = convert(folder, tmp_path / "m.gguf", to="gguf").losses
    named = {loss.partition(":")[0] for loss in losses}
    with load(folder) as before, load(tmp_path / "m.gguf") as after:
        assert before.tokenizer.adds_bos == after.tokenizer.adds_bos
        for text in TEXTS:
            same = before.tokenizer.encode(text) == after.tokenizer.encode(text)
            if "[ASK]" in text:
                assert same or named & {
                    "vocabulary.prefixes_every_part", "vocabulary.cuts_at_user_defined",
                    "vocabulary.doubles_space",
                }, text  # fmt: skip
            else:
                assert same or (text[:1] == " " and "vocabulary.doubles_space" in named), text
    doubles = STATED[stated][2] == "__Snow"
    has_prefix = STATED[stated][1].startswith("_")
    assert ("vocabulary.doubles_space" in named) == (has_prefix and not doubles)


@pytest.mark.parametrize("eos", [True, False])
@pytest.mark.parametrize("bos", [True, False])
def test_gguf_carries_what_is_put_around_a_text_and_a_folder_takes_it_back(tmp_path, rng, bos, eos):
    pytest.importorskip("safetensors")
    stated = [("add_bos_token", not bos), ("add_eos_token", not eos)]
    written = PREPEND | {"post_processor": template(bos, eos)}
    folder = model_folder(tmp_path / "folder", rng, stated, written)
    convert(folder, tmp_path / "m.gguf", to="gguf")
    losses = convert(tmp_path / "m.gguf", tmp_path / "again", to="safetensors").losses
    # sentencepiece's own file: a user-defined piece does not end the text around it
    assert [loss.partition(":")[0] for loss in losses] == ["vocabulary.cuts_at_user_defined"]
    said = json.loads((tmp_path / "again" / "tokenizer_config.json").read_text())
    assert (said["add_bos_token"], said.get("add_eos_token", False)) == (bos, eos)
    with load(tmp_path / "m.gguf") as before, load(tmp_path / "again") as after:
        for text in TEXTS:
            if "[ASK]" not in text:
                assert before.tokenizer.encode(text) == after.tokenizer.encode(text), text


# --- transformers itself -------------------------------------------------------------------------


def judged(folder, text):
    """The ids that transformers gives; what it puts after the text is taken away."""
    transformers = pytest.importorskip("transformers")
    judge = transformers.AutoTokenizer.from_pretrained(folder)
    ids = judge(text).input_ids
    return ids[:-1] if ids and ids[-1] == 2 else ids


@pytest.mark.slow
@pytest.mark.parametrize("stated", STATED)
def test_a_folder_is_read_as_transformers_reads_it(tmp_path, stated):
    tokenizer = stated_folder(tmp_path, stated)
    for text in TEXTS:
        assert tokenizer.encode(text) == judged(tmp_path, text), text


@pytest.mark.slow
@pytest.mark.parametrize("stated", STATED)
def test_special_pieces_are_those_that_transformers_finds(tmp_path, stated):
    """It always looks for control pieces in a text; we do where that is asked for."""
    tokenizer = stated_folder(tmp_path, stated)
    for text in ("Snow</s>fell!", "<s> Snow <im> fell", "</s></s>.", "a<im>[ASK] <unk>b", "<im> "):
        assert tokenizer.encode(text, special=True) == judged(tmp_path, text), text


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [..., True, False])
@pytest.mark.parametrize("add_prefix_space", [..., True, False])
@pytest.mark.parametrize("add_bos_token", [..., True, False])
def test_a_llama_class_is_read_as_transformers_reads_it(
    tmp_path, legacy, add_prefix_space, add_bos_token
):
    _, tokenizer = folder_with(
        tmp_path, legacy=legacy, add_prefix_space=add_prefix_space, add_bos_token=add_bos_token
    )
    for text in TEXTS:
        assert tokenizer.encode(text) == judged(tmp_path, text), text


@pytest.mark.slow
@pytest.mark.parametrize("settings", [
    {"user_defined_symbols": ["[ASK]"]}, {"add_dummy_prefix": False},
    {"normalization_rule_name": "nmt_nfkc_cf", "remove_extra_whitespaces": True},
])  # fmt: skip
@pytest.mark.parametrize("name", ["LlamaTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("legacy", [..., True])
def test_other_settings_are_read_as_transformers_reads_them(tmp_path, settings, name, legacy):
    library = trained(tmp_path / "tokenizer.model", settings)
    values = {"tokenizer_class": name, "legacy": legacy, "bos_token": "<s>", "eos_token": "</s>",
              "unk_token": "<unk>"}  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({key: value for key, value in values.items() if value is not ...})
    )
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    tokenizer = SentencePieceTokenizer(tmp_path / "tokenizer.model", library.vocab_size())
    for text in TEXTS:
        assert tokenizer.encode(text) == judged(tmp_path, text), text


@pytest.mark.slow
@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("name", [..., "LlamaTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("bos", [True, False])
def test_a_tokenizer_json_is_read_as_transformers_reads_it(tmp_path, written, beside, name, bos):
    """Whether a tokenizer.model lies beside it or not."""
    from llama_edu.files.vocabularies.detect import read_vocabulary
    from llama_edu.tokenizer.choice import tokenizer_of

    transformers = pytest.importorskip("transformers")
    folder_with(tmp_path, add_bos_token=not bos, add_eos_token=True)
    made = json.loads(
        transformers.AutoTokenizer.from_pretrained(tmp_path).backend_tokenizer.to_str()
    )
    _, tokenizer = folder_with(tmp_path, tokenizer_class=name, add_bos_token=not bos)
    made |= WRITTEN[written][0] | {"post_processor": template(bos, False) if bos else None}
    if written == "prepend":
        replace = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
        made["normalizer"] = {"type": "Sequence", "normalizers": [PREPEND["normalizer"], replace]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(made))
    if beside:
        tokenizer = SentencePieceTokenizer(tmp_path / "tokenizer.model", tokenizer.vocab_size)
    else:
        (tmp_path / "tokenizer.model").unlink()
        tokenizer = tokenizer_of(read_vocabulary(tmp_path / "tokenizer.json"))
    for text in TEXTS:
        assert tokenizer.encode(text) == judged(tmp_path, text), text


@pytest.mark.slow
@pytest.mark.parametrize("add_space_prefix", [True, False])
@pytest.mark.parametrize("add_bos", [True, False])
def test_transformers_reads_a_folder_from_gguf_as_we_read_the_file(
    tmp_path, rng, add_space_prefix, add_bos
):
    from helpers.small_models import write_meta_folder

    library = trained(tmp_path / "tokenizer.model", {"add_dummy_prefix": add_space_prefix})
    config = small_config(vocab_size=library.vocab_size(), hidden_dim=72)
    meta = write_meta_folder(
        tmp_path / "meta", config, random_weights(config, rng), params={"n_kv_heads": 2},
        tokenizer=tmp_path / "tokenizer.model",
    )  # fmt: skip
    flag = {"tokenizer.ggml.add_bos_token": str(add_bos).lower()}
    convert(meta, tmp_path / "m.gguf", to="gguf", set_keys=flag)
    assert convert(tmp_path / "m.gguf", tmp_path / "again", to="safetensors").losses == ()
    convert(meta, tmp_path / "direct", to="safetensors")
    with load(tmp_path / "m.gguf") as llama, load(meta) as first:
        for text in TEXTS:
            assert llama.tokenizer.encode(text) == judged(tmp_path / "again", text), text
            assert first.tokenizer.encode(text) == judged(tmp_path / "direct", text), text
