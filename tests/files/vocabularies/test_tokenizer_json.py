"""tokenizer.json files made by the tokenizers library, and the same vocabulary through GGUF."""

import json

import pytest
from helpers.opened import read_gguf
from helpers.small_models import llama2c_v0, random_weights, small_config

from llama_edu.errors import FormatError
from llama_edu.files.gguf.writer import write_gguf
from llama_edu.files.layout import PlannedTensor
from llama_edu.files.vocabularies.byte_level import PRE_TOKENIZERS
from llama_edu.files.vocabularies.detect import read_vocabulary
from llama_edu.files.vocabularies.tokenizer_json import read_tokenizer_json
from llama_edu.loading import load
from llama_edu.tokenizer.bpe import BpeTokenizer
from llama_edu.tokenizer.score_merge import ScoreMergeTokenizer
from llama_edu.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED

TEXT = "the cat sat on the mat, the cats' hats: 12345 \u00e9t\u00e9 \U0001f999\n\n  the end."
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>"]


@pytest.fixture(params=["llama-bpe", "gpt-2"])
def trained(request, tmp_path):
    """(tokenizers.Tokenizer, path of its tokenizer.json, name of its pattern)."""
    library = pytest.importorskip("tokenizers")
    pre, n_specials = library.pre_tokenizers, len(SPECIALS)
    tokenizer = library.Tokenizer(library.models.BPE(ignore_merges=request.param == "llama-bpe"))
    if request.param == "gpt-2":
        tokenizer.pre_tokenizer = pre.ByteLevel(add_prefix_space=False, use_regex=True)
    else:
        (pattern,) = PRE_TOKENIZERS["llama-bpe"]
        cut = pre.Split(library.Regex(pattern), behavior="isolated")
        spell = pre.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre.Sequence([cut, spell])
    trainer = library.trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=pre.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    tokenizer.post_processor = library.processors.TemplateProcessing(
        single=f"{SPECIALS[0]} $A", special_tokens=[(SPECIALS[0], 0)]
    )
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    ends = {"bos_token_id": 0, "eos_token_id": [1, 0]}
    (tmp_path / "config.json").write_text(json.dumps(ends))
    assert tokenizer.get_vocab_size() > 256 + n_specials
    return tokenizer, path, request.param


def test_a_byte_level_file_gives_the_ids_of_its_library(trained):
    library, path, name = trained
    vocabulary = read_tokenizer_json(path)
    assert (vocabulary.model, vocabulary.pre_tokenizer) == ("bpe", name)
    assert (vocabulary.bos_id, vocabulary.eos_id, vocabulary.add_bos) == (0, 1, True)
    assert vocabulary.kinds[:3].tolist() == [CONTROL, CONTROL, NORMAL]
    tokenizer = BpeTokenizer(vocabulary)
    assert tokenizer.encode(TEXT) == library.encode(TEXT).ids
    assert b"".join(map(tokenizer.piece, tokenizer.encode(TEXT))) == TEXT.encode()


def test_a_byte_level_vocabulary_survives_gguf(trained, tmp_path, rng):
    library, path, name = trained
    config = small_config(vocab_size=library.get_vocab_size())
    weights = random_weights(config, rng)
    planned = [PlannedTensor(n, "f32", w.shape) for n, w in weights.items()]
    model = tmp_path / "model.gguf"
    with model.open("wb") as file:
        vocabulary = read_tokenizer_json(path)
        write_gguf(file, config, vocabulary, planned, lambda t: weights[t.name])
    again = read_gguf(model).vocabulary
    assert list(again.pieces) == vocabulary.pieces and list(again.merges) == vocabulary.merges
    assert (again.kinds == vocabulary.kinds).all()
    assert (again.bos_id, again.eos_id, again.add_bos) == (0, 1, True)
    assert again.pre_tokenizer == name and not again.add_space_prefix
    assert BpeTokenizer(again).encode(TEXT) == library.encode(TEXT).ids
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(model).fields
    assert fields["tokenizer.ggml.model"].contents() == "gpt2"
    by_id = sorted(library.get_vocab().items(), key=lambda item: item[1])
    assert fields["tokenizer.ggml.tokens"].contents() == [text for text, _ in by_id]


def test_a_sentencepiece_file_written_as_merges_is_merged_by_score(tmp_path):
    library = pytest.importorskip("tokenizers")
    words = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    words += ["\u2581", "a", "b", "c", "ab", "\u2581a", "bc", "\u2581ab", "abc"]
    merges = [("\u2581", "a"), ("b", "c"), ("a", "b"), ("\u2581a", "b"), ("a", "bc")]
    model = library.models.BPE(
        {w: i for i, w in enumerate(words)}, merges, byte_fallback=True, unk_token="<unk>"
    )
    tokenizer = library.Tokenizer(model)
    normalizers = library.normalizers
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    vocabulary = read_tokenizer_json(path)
    assert vocabulary.model == "spm" and vocabulary.add_space_prefix
    assert vocabulary.kinds[:4].tolist() == [UNKNOWN, CONTROL, CONTROL, BYTE]
    assert vocabulary.pieces[259] == b" " and vocabulary.pieces[13] == b"\n"
    ours = ScoreMergeTokenizer(vocabulary)
    for text in ("abc", "ab abc", "bca", "cab\n\u00e9a b"):
        assert ours.encode(text, bos=False) == tokenizer.encode(text).ids


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": {"type": "WordPiece"}}, "the model is 'WordPiece', expected BPE"),
        ({"model": None}, "the model is 'missing', expected BPE"),
        ({"model": {"type": "BPE", "vocab": {}}}, "has no vocab and merges"),
        ({"normalizer": {"type": "NFC"}}, "has a normalizer, expected none"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "cuts text by 'Whitespace', expected"),
        ({"pre_tokenizer": None}, "cuts text by 'None', expected"),
        ({"added_tokens": [{"id": "x"}]}, "an added token has no id and content"),
        ({"added_tokens": [{"id": 2**40, "content": "y"}]}, r"ids from 0 to 1,099,.* at most"),
        ({"added_tokens": [{"id": -1, "content": "y"}]}, "ids from -1 to"),
        ({"added_tokens": 7}, "an added token has no id and content"),
    ],
)
def test_what_is_not_understood_is_named(trained, change, says):
    _, path, _ = trained
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FormatError, match=says):
        read_tokenizer_json(path)


def test_damaged_merges_and_ids_are_named(trained):
    _, path, _ = trained
    values = json.loads(path.read_text())
    values["model"]["merges"][0] = 5
    path.write_text(json.dumps(values))
    with pytest.raises(FormatError, match="a merge is '5', expected two pieces"):
        read_tokenizer_json(path)
    values["model"]["merges"][0] = "a b c"
    values["model"]["vocab"]["a"] = [1]
    path.write_text(json.dumps(values))
    with pytest.raises(FormatError, match=r"id of a piece is .*, expected a whole number"):
        read_tokenizer_json(path)


def test_a_tokenizer_json_is_known_by_its_content_and_encodes(trained, tmp_path, rng):
    library, path, _ = trained
    renamed = path.with_name("vocabulary.bin")
    renamed.write_bytes(b" \n" + path.read_bytes())
    assert read_vocabulary(renamed).pieces == read_tokenizer_json(path).pieces
    config = small_config(vocab_size=library.get_vocab_size())
    model = tmp_path / "model.bin"
    model.write_bytes(llama2c_v0(config, random_weights(config, rng)))
    with load(model, tokenizer=renamed) as llama:
        assert llama.tokenizer.encode(TEXT) == library.encode(TEXT).ids


def test_where_no_config_json_names_the_ends_tokenizer_config_json_does(trained):
    _, path, _ = trained
    path.with_name("config.json").unlink()
    vocabulary = read_tokenizer_json(path)
    assert (vocabulary.bos_id, vocabulary.eos_id) == (0, -1)  # the template names BOS
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | {"post_processor": None}))
    assert read_tokenizer_json(path).bos_id == -1
    path.write_text(json.dumps(written))
    named = {"bos_token": SPECIALS[0], "eos_token": {"content": SPECIALS[1]}}
    path.with_name("tokenizer_config.json").write_text(json.dumps(named))
    vocabulary = read_tokenizer_json(path)
    assert (vocabulary.bos_id, vocabulary.eos_id, vocabulary.add_bos) == (0, 1, True)
    path.with_name("tokenizer_config.json").write_text(json.dumps({"bos_token": ["?"]}))
    path.write_text(json.dumps(written | {"post_processor": None}))
    assert read_tokenizer_json(path).bos_id == -1


def test_ids_that_no_piece_has_are_unused_and_decode_to_nothing(trained, tmp_path, rng):
    library, path, _ = trained
    n = library.get_vocab_size()
    values = json.loads(path.read_text())
    values["added_tokens"].append({"id": n + 9, "content": "<|late|>", "special": True})
    path.write_text(json.dumps(values))
    vocabulary = read_tokenizer_json(path)
    assert len(vocabulary) == n + 10 and vocabulary.kinds[n + 9] == CONTROL
    assert set(vocabulary.kinds[n : n + 9].tolist()) == {UNUSED}
    tokenizer = BpeTokenizer(vocabulary)
    assert tokenizer.encode(TEXT) == library.encode(TEXT).ids
    assert tokenizer.piece(n + 3) == b"" and tokenizer.piece(n + 9) == b""
    config = small_config(vocab_size=n + 16)  # a table that is padded as well
    (tmp_path / "model.bin").write_bytes(llama2c_v0(config, random_weights(config, rng)))
    with load(tmp_path / "model.bin", tokenizer=path) as llama:
        assert llama.tokenizer.encode(TEXT) == library.encode(TEXT).ids
        assert llama.tokenizer.piece(n + 15) == b""
