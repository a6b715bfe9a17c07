"""GGUF files with vocabularies full of special pieces, and llama.cpp's reading of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from helpers.small_models import random_weights, small_config
from llama_edu.files.gguf.writer import write_gguf
from llama_edu.files.layout import PlannedTensor
from llama_edu.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Vocabulary

#: Special pieces that overlap, begin one another, hold spaces, or are named like an end.
SPECIAL = {
    "[ASK]": USER_DEFINED, "[ASK]!": USER_DEFINED, "ab cd": USER_DEFINED, "xyz": USER_DEFINED,
    "zzzz": USER_DEFINED, "<|user|>": CONTROL, "<|im_end|>": USER_DEFINED, "z<y": CONTROL,
    "\u4f60\u597d\u5417": CONTROL, "<|eom_id|>": CONTROL, "\U0001f600": USER_DEFINED,
}  # fmt: skip
ALPHABET = [
    *SPECIAL, "<unk>", "<s>", "</s>", " ", "  ", "a", "b", "c", "x", "y", "z", "\n", "é", "<",
    "\u2581", "!",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(ALPHABET), max_size=9).map("".join)


def spm(**changes) -> Vocabulary:
    texts = [b" a", b" ab", b"ab", b"cd", b" xy", b"xy", b"yz", b"  ", b"zz", b" c", b"bc"]
    pieces = [b"", b"", b"", *(bytes([b]) for b in range(256)), *texts]
    kinds = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(texts)
    kinds += [NORMAL] * 127
    pieces += [bytes([b]) for b in range(1, 128)]
    names = {0: b"<unk>", 1: b"<s>", 2: b"</s>"}
    for text, kind in SPECIAL.items():
        if kind == CONTROL:
            names[len(pieces)] = text.encode()
        pieces.append(b"" if kind == CONTROL else text.encode())
        kinds.append(kind)
    n = len(pieces)
    values = {
        "pieces": pieces, "scores": -np.arange(n, dtype=np.float32), "names": names,
        "kinds": np.array(kinds, np.uint8),
    }  # fmt: skip
    return Vocabulary(**values | changes)


def bpe(**changes) -> Vocabulary:
    merges = ["a b", "\u0120 a", "\u0120a b", "c d", "x y", "z z", "\u00e4 \u00bd"]
    pieces = [bytes([b]) for b in range(256)]
    pieces += [b"ab", b" a", b" ab", b"cd", b"xy", b"zz", b"\xe4\xbd"]
    kinds = [NORMAL] * len(pieces)
    for text, kind in {"<s>": CONTROL, "</s>": CONTROL, "<unk>": UNKNOWN, **SPECIAL}.items():
        pieces.append(text.encode())
        kinds.append(kind)
    values = {
        "pieces": pieces, "scores": np.zeros(len(pieces), np.float32), "model": "bpe",
        "kinds": np.array(kinds, np.uint8), "merges": merges, "pre_tokenizer": "llama-bpe",
        "bos_id": 263, "eos_id": 264, "unk_id": 265, "add_space_prefix": False,
    }  # fmt: skip
    return Vocabulary(**values | changes)


VOCABULARIES = {
    "spm": spm(), "spm without a space": spm(add_space_prefix=False),
    "spm without BOS": spm(add_bos=False), "bpe": bpe(),
    "bpe of GPT-2, without BOS": bpe(pre_tokenizer="gpt-2", add_bos=False),
}  # fmt: skip


class Judge:
    """llama.cpp's reading of a file's vocabulary."""

    def __init__(self, path):
        llama_cpp = pytest.importorskip("llama_cpp")
        self._api = llama_cpp
        self._model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
        self._vocab = llama_cpp.llama_model_get_vocab(self._model.model)
        self.n = llama_cpp.llama_vocab_n_tokens(self._vocab)

    def encode(self, text, bos=True, special=False):
        return self._model.tokenize(text.encode(), add_bos=bos, special=special)

    def ends(self):
        return {t for t in range(self.n) if self._api.llama_vocab_is_eog(self._vocab, t)}

    def name(self, token):
        return self._api.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace")


def write(path, vocabulary, keys=None, *, change=lambda weights: None, **sizes):
    config = small_config(vocab_size=len(vocabulary), **sizes)
    weights = random_weights(config, np.random.default_rng(3))
    change(weights)
    planned = [PlannedTensor(name, "f32", array.shape) for name, array in weights.items()]
    with path.open("wb") as file:
        write_gguf(file, config, vocabulary, planned, lambda t: weights[t.name], keys)
