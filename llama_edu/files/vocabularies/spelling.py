"""What a vocabulary calls its pieces, as sentencepiece, tokenizer.json and GGUF files spell them.

A space is U+2581 and a byte "<0x0A>" where pieces have scores; byte-level pieces have GPT-2's
spelling. Control pieces, which add nothing to a text, have a name as well.
"""

from __future__ import annotations

from llama_edu.files.vocabularies import byte_level
from llama_edu.vocabulary import (
    BYTE,
    CONTROL,
    SPACE_MARK,
    UNKNOWN,
    UNKNOWN_TEXT,
    UNUSED,
    USER_DEFINED,
    Vocabulary,
)

_SPACE_MARK = SPACE_MARK.encode()


def spelled(vocabulary: Vocabulary, token: int) -> bytes:
    """What a vocabulary calls the piece of this id."""
    known = vocabulary.names.get(token)
    if known is not None:
        return known
    ids = {vocabulary.unk_id: b"<unk>", vocabulary.bos_id: b"<s>", vocabulary.eos_id: b"</s>"}
    piece, kind = vocabulary.pieces[token], vocabulary.kinds[token]
    if kind == UNKNOWN and piece in (b"", UNKNOWN_TEXT):
        return ids.get(token, b"<unk>")
    if kind == UNUSED and not piece:
        return b"[PAD%d]" % token  # as llama.cpp's converter calls it
    if kind == CONTROL:
        return piece or ids.get(token, b"<control_%d>" % token)
    if kind == USER_DEFINED:  # with its spaces: it is found in a text as that stands
        return piece
    if vocabulary.model == "bpe":
        return byte_level.to_text(piece).encode()
    if kind == BYTE:
        return b"<0x%02X>" % piece[0]
    return piece.replace(b" ", _SPACE_MARK)
