"""A model of random weights that has a chat template, and words put into its mouth."""

from __future__ import annotations

import llama_edu
from helpers.special_vocabularies import SPECIAL, spm, write
from llama_edu.files.layout import TypedValue
from llama_edu.transformer import generate

#: `<|user|>` is a control piece of the vocabulary; `<|im_end|>` ends an answer by its name.
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n{% elif m.role == 'user' %}"
    "<|user|>{{ m.content }}\n{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
)


def open_chat_model(folder, *, template=TEMPLATE, max_seq_len=150, endless=False):
    """The model, loaded. An endless one never ends an answer where the likeliest token is taken."""
    path = folder / "chat.gguf"
    vocabulary = spm()
    ends = [vocabulary.bos_id, *range(len(vocabulary) - len(SPECIAL), len(vocabulary)), 2]

    def change(weights):
        if endless:  # another piece always has twice their scores
            weights["output"][ends] = weights["output"][300] / 2

    keys = {} if template is None else {"tokenizer.chat_template": TypedValue("string", template)}
    write(path, vocabulary, keys, change=change, max_seq_len=max_seq_len)
    return llama_edu.load(path)


class Mouth:
    """Lets a model say these tokens, one after another, whatever it computed."""

    def __init__(self, monkeypatch, llama):
        self.llama = llama
        self._tokens: list[int] = []
        monkeypatch.setattr(generate, "sample", lambda *_: self._tokens.pop(0))

    def put(self, *words):
        """Texts, and ids as they are, to be said next."""
        for word in words:
            self._tokens += [word] if isinstance(word, int) else ids_of(self.llama, word)


def ids_of(llama, text) -> list[int]:
    """The ids of a text that goes on, without a space before it."""
    before = llama.tokenizer.encode_parts(["x"], bos=False)
    return llama.tokenizer.encode_parts(["x", text], bos=False)[len(before) :]
