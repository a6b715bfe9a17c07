"""A tokenizer that everybody can read: one id for each character, and a few special pieces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llama_edu.tokenizer.protocol import encodable

#: As they are in the vocabularies of SmolLM2, Llama 3, Llama 2, and of nobody; `aa` and two
#: spaces are user-defined.
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_end|>!", "<s>", "</s>", "[INST]", "aa",
    "  ",
)  # fmt: skip


class LettersTokenizer:
    """The special pieces are the first ids; every other id is a code point and their number."""

    vocab_size = len(SPECIAL) + 0x110000
    adds_space = False
    asks_for_eos = False

    def __init__(self, special: Sequence[str] = SPECIAL, *, adds_bos: bool = False) -> None:
        self.special = tuple(special)
        self.bos_id, self.eos_id = self.special.index("<s>"), self.special.index("</s>")
        self.adds_bos = adds_bos
        self.special_ids = frozenset(range(len(self.special)))
        self.end_ids = (self.eos_id,)

    @property
    def special_names(self) -> dict[str, int]:
        return {name: token for token, name in enumerate(self.special)}

    def __len__(self) -> int:
        return self.vocab_size

    def name(self, token: int) -> str:
        n = len(self.special)
        return self.special[token] if token < n else chr(token - n)

    def piece(self, token: int) -> bytes:
        """Names of letters alone are user-defined: they are text as well, and found in any text."""
        name = self.name(token)
        is_control = token < len(self.special) and not name.isalpha() and not name.isspace()
        return b"" if is_control else name.encode()

    def decode(self, tokens: Iterable[int]) -> str:
        return b"".join(map(self.piece, tokens)).decode()

    def special_parts(self, text: str) -> list[str | int]:
        return self._cut(text, self.special)

    def encode(self, text: str, *, bos: bool = True, special: bool = False) -> list[int]:
        return self.encode_parts(self.special_parts(text) if special else [text], bos=bos)

    def encode_parts(self, parts: Sequence[str | int], *, bos: bool = True) -> list[int]:
        ids = [self.bos_id] if bos and self.adds_bos else []
        user_defined = [name for t, name in enumerate(self.special) if self.piece(t)]
        for part in parts:
            for inner in [part] if isinstance(part, int) else self._cut(part, user_defined):
                is_id = isinstance(inner, int)
                ids += [inner] if is_id else [len(self.special) + ord(c) for c in inner]
        return ids

    def _cut(self, text: str, names: Iterable[str]) -> list[str | int]:
        """Special pieces as llama.cpp finds them: the longest in the whole text first."""
        parts: list[str | int] = [encodable(text)]
        for name in sorted(names, key=len, reverse=True):
            found: list[str | int] = []
            for part in parts:
                texts = part.split(name) if isinstance(part, str) else [part]
                for i, piece in enumerate(texts):
                    found += [self.special.index(name)] * (i > 0)
                    found += [piece] if piece != "" else []
            parts = found
        return parts
