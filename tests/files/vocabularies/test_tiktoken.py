"""Llama 3's tokenizer.model: the ids of tiktoken, and of its rule read slowly."""

from __future__ import annotations

import base64
import itertools
import json

import numpy as np
import pytest
from helpers.small_models import random_weights, small_config, write_meta_folder
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.errors import FormatError
from llama_edu.files.vocabularies.byte_level import PRE_TOKENIZERS
from llama_edu.files.vocabularies.detect import is_sentencepiece, read_vocabulary
from llama_edu.files.vocabularies.tiktoken import read_tiktoken, special_names
from llama_edu.loading import load
from llama_edu.tokenizer.streaming import decode
from llama_edu.vocabulary import CONTROL, NORMAL

pytest.importorskip("tokenizers")

TEXT = (
    "the cat sat on the mat, the cats' hats: 12345 \u00e9t\u00e9\n\n  the end. aaaaaaa \U0001f999"
)
TEXTS = st.text(st.sampled_from("athe nsm'123,.\n\u00e9\U0001f999"), max_size=40)


def trained_pieces(n_merges: int) -> list[bytes]:
    """All bytes, then the most frequent neighbors of TEXT merged one after another, as in BPE."""
    pieces = [bytes([byte]) for byte in range(256)]
    words = [[bytes([b]) for b in word.encode()] for word in TEXT.replace(" ", "| ").split("|")]
    while len(pieces) < 256 + n_merges:
        counts: dict[bytes, int] = {}
        for word in words:
            for left, right in itertools.pairwise(word):
                counts[left + right] = counts.get(left + right, 0) + 1
        best = max(sorted(counts), key=lambda piece: counts[piece])
        pieces.append(best)
        words = [joined(word, best) for word in words]
    return pieces


def joined(word: list[bytes], piece: bytes) -> list[bytes]:
    out: list[bytes] = []
    for part in word:
        if out and out[-1] + part == piece:
            out[-1] = piece
        else:
            out.append(part)
    return out


PIECES = trained_pieces(40)


def file_of(pieces: list[bytes]) -> bytes:
    return b"".join(b"%s %d\n" % (base64.b64encode(p), i) for i, p in enumerate(pieces))


@pytest.fixture
def folder(tmp_path, rng):
    """A model in Meta's layout with Llama 3's kind of tokenizer."""
    config = small_config(vocab_size=len(PIECES) + 256, hidden_dim=72, norm_eps=1e-5)
    folder = write_meta_folder(
        tmp_path / "model", config, random_weights(config, rng),
        params={"n_kv_heads": 2, "rope_theta": 500000.0},
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(file_of(PIECES))
    return folder


def test_the_file_is_known_by_its_first_line(folder):
    path = folder / "tokenizer.model"
    assert not is_sentencepiece(path)
    vocabulary = read_vocabulary(path, len(PIECES) + 256)
    assert (vocabulary.model, vocabulary.pre_tokenizer) == ("bpe", "llama-bpe")
    assert vocabulary.pieces[: len(PIECES)] == PIECES
    assert set(vocabulary.kinds[: len(PIECES)].tolist()) == {NORMAL}
    assert set(vocabulary.kinds[len(PIECES) :].tolist()) == {CONTROL} and len(vocabulary) == 552


def test_special_tokens_have_metas_names(folder):
    """128000 to 128255 of Llama 3; 3.1 gave names to more of them."""
    old, new = special_names(scales_rope=False), special_names(scales_rope=True)
    for names in (old, new):
        assert len(names) == len(set(names)) == 256
        assert names[:2] == ["<|begin_of_text|>", "<|end_of_text|>"]
        assert names[6:8] == ["<|start_header_id|>", "<|end_header_id|>"]
        assert names[9] == "<|eot_id|>"
    assert (old[2], old[8], old[10]) == (
        "<|reserved_special_token_0|>", "<|reserved_special_token_4|>",
        "<|reserved_special_token_5|>",
    )  # fmt: skip
    assert (old[255], new[255]) == (
        "<|reserved_special_token_250|>", "<|reserved_special_token_245|>",
    )  # fmt: skip
    assert (new[4], new[8], new[10]) == (
        "<|finetune_right_pad_id|>",
        "<|eom_id|>",
        "<|python_tag|>",
    )
    params = json.loads((folder / "params.json").read_text()) | {"use_scaled_rope": True}
    (folder / "params.json").write_text(json.dumps(params))
    pieces = read_tiktoken(folder / "tokenizer.model").pieces
    assert pieces[len(PIECES) + 8] == b"<|eom_id|>"


def test_a_folder_of_llama_3_tokenizes_and_generates(folder):
    with load(folder) as llama:
        tokenizer = llama.tokenizer
        assert (tokenizer.bos_id, tokenizer.eos_id) == (len(PIECES), len(PIECES) + 1)
        ids = tokenizer.encode(TEXT)
        assert ids[0] == tokenizer.bos_id and len(ids) < len(TEXT.encode())
        assert decode(tokenizer, ids) == TEXT
        assert tokenizer.piece(tokenizer.bos_id) == b"" and tokenizer.piece(551) == b""
        "".join(llama.generate("the", 5, temperature=0))
        assert llama.config.max_seq_len == 50  # as write_meta_folder states it


def test_a_vocabulary_of_llama_3_survives_gguf(folder, tmp_path, run_cli):
    code, _, error = run_cli("convert", folder, tmp_path / "m.gguf", "--to", "gguf")
    assert code == 0, error
    with load(folder) as before, load(tmp_path / "m.gguf") as after:
        assert before.tokenizer.encode(TEXT) == after.tokenizer.encode(TEXT)


def slow_ids(text: str) -> list[int]:
    """tiktoken's rule for one cut: the whole if it is a piece, else merge by the lowest rank."""
    import regex

    (pattern,) = PRE_TOKENIZERS["llama-bpe"]
    ranks = {piece: rank for rank, piece in enumerate(PIECES)}
    ids: list[int] = []
    for cut in regex.findall(pattern, text):
        parts = [cut.encode()] if cut.encode() in ranks else [bytes([b]) for b in cut.encode()]
        while True:
            found = [
                (ranks[parts[i] + parts[i + 1]], i)
                for i in range(len(parts) - 1)
                if parts[i] + parts[i + 1] in ranks
            ]
            if not found:
                break
            _, i = min(found)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        ids += [ranks[part] for part in parts]
    return ids


@given(TEXTS)
def test_ids_follow_tiktokens_rule(text):
    pytest.importorskip("regex")
    assert vocabulary_tokenizer().encode(text, bos=False) == slow_ids(text)


@given(TEXTS)
def test_ids_equal_those_of_tiktoken(text):
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {piece: rank for rank, piece in enumerate(PIECES)}
    (pattern,) = PRE_TOKENIZERS["llama-bpe"]
    library = tiktoken.Encoding("small", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    assert vocabulary_tokenizer().encode(text, bos=False) == library.encode(text)


_TOKENIZER = []


def vocabulary_tokenizer():
    """The tokenizer of PIECES, made once."""
    if not _TOKENIZER:
        from llama_edu.files.vocabularies.tiktoken import merges_of
        from llama_edu.tokenizer.bpe import BpeTokenizer
        from llama_edu.vocabulary import Vocabulary

        n = len(PIECES)
        _TOKENIZER.append(BpeTokenizer(Vocabulary(
            PIECES, np.zeros(n, np.float32), np.full(n, NORMAL, np.uint8), "bpe", -1, -1, -1, False,
            False, merges_of(PIECES), "llama-bpe",
        )))  # fmt: skip
    return _TOKENIZER[0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"!!! 5\n", "line 257 is b'!!! 5', expected a piece in base64"),
        (b"YQ==\n", "line 257 is b'YQ=='"),
        (b"YQ== -1\n", "line 257 is"),
        (b"YQ== 99999999999999\n", "line 257 is"),
        (b" 256\n", "line 257 is"),
        (b"YQ== 256\n", "a piece occurs twice"),
        (b"YWE= 257\n", "a rank is missing"),
        (b"YWE= 0\n", "line 257 is .* and a rank of its own"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, line, says):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(file_of(PIECES[:256]) + line)
    with pytest.raises(FormatError, match=says):
        read_vocabulary(path)
