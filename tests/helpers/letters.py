"""A tokenizer that everybody can read: one id for each character, and a few special pieces."""

from __future__ import annotations

from collections.abc import Sequence

from llama_edu.tokenizer.protocol import encodable

#: As they are in the vocabularies of SmolLM2, Llama 3, Llama 2, and of nobody.
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_end|>!", "<s>", "</s>", "[INST]", "aa",
)  # fmt: skip


class LettersTokenizer:
    """The special pieces are the first ids; every other id is a code point and their number."""

    vocab_size = len(SPECIAL) + 0x110000
    adds_space = False

    def __init__(self, special: Sequence[str] = SPECIAL, *, adds_bos: bool = False) -> None:
        self.special = tuple(special)
        self.bos_id, self.eos_id = self.special.index("<s>"), self.special.index("</s>")
        self.adds_bos = adds_bos
        self.special_ids = frozenset(range(len(self.special)))
        self.end_ids = (self.eos_id,)

    def name(self, token: int) -> str:
        n = len(self.special)
        return self.special[token] if token < n else chr(token - n)

    def piece(self, token: int) -> bytes:
        return b"" if token < len(self.special) else self.name(token).encode()

    def encode(self, text: str, *, bos: bool = True, special: bool = False) -> list[int]:
        """The special pieces as llama.cpp finds them: the longest in the whole text first."""
        parts: list[str | int] = [encodable(text)]
        for name in sorted(self.special, key=len, reverse=True) if special else ():
            found: list[str | int] = []
            for part in parts:
                texts = part.split(name) if isinstance(part, str) else [part]
                for i, piece in enumerate(texts):
                    found += [self.special.index(name)] * (i > 0)
                    found += [piece] if piece != "" else []
            parts = found
        return self.encode_parts(parts, bos=bos)

    def encode_parts(self, parts: Sequence[str | int], *, bos: bool = True) -> list[int]:
        ids = [self.bos_id] if bos and self.adds_bos else []
        for part in parts:
            if isinstance(part, str):
                ids += [len(self.special) + ord(c) for c in encodable(part)]
            else:
                ids.append(part)
        return ids
