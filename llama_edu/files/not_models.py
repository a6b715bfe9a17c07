"""Files that people have in the place of a model, told by their first bytes, and what to do."""

from __future__ import annotations

import re

#: First bytes, what the file is, what to do.
_MAGICS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file", "run: git lfs pull"),
    (b"\x89PNG", "a PNG picture", "check the path"),
    (b"\xff\xd8\xff", "a JPEG picture", "check the path"),
    (b"%PDF", "a PDF document", "check the path"),
    (b"\x1f\x8b", "compressed with gzip", "run: gunzip"),
    (b"\xfd7zXZ", "compressed with xz", "run: unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "run: unzstd"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"\x93NUMPY", "one numpy array", "expected a model with all its tensors"),
    (b"\x89HDF", "an HDF5 file", "expected a LLaMA checkpoint"),
    (
        b"algg",
        "a LoRA adapter of 2023 (magic ggla), which changes a base model and is none itself",
        "give the base model",
    ),
)

#: A line of a tiktoken file: base64 of a piece, a space, its id.
_TIKTOKEN_LINE = rb"(?:[\w+/]{4})*(?:[\w+/]{2}==|[\w+/]{3}=)? \d+\r?\n"

#: Beginnings that have no magic, what the file is, what to do.
_PATTERNS = (
    (
        re.compile(rb"(?:%b){2}" % _TIKTOKEN_LINE),
        "a tiktoken vocabulary; give it with --tokenizer, and a weight file here",
    ),
    (  # how many tensors, the length of a name, the name
        re.compile(rb"..\0\0[^\0]\0\0\0(blk\.\d|output|token_embd|layers\.\d)", re.DOTALL),
        "an importance matrix, which helps to quantize a model; give the model itself",
    ),
)


def what_it_is(head: bytes) -> str:
    """The rest of a sentence about a file that cannot be read, told by its first bytes."""
    what = _known_as(head)
    if what is not None:
        return f"starts with {head[:24]!r}, expected a weight file; this is {what}"
    return (
        f"starts with {head[:8]!r}, expected ggml, ggmf, ggjt, GGUF, safetensors, a llama2.c file, "
        f"or a folder in Meta's layout; check what was downloaded"
    )


def is_known(head: bytes) -> bool:
    """Whether these are the first bytes of something known that is no model."""
    return _known_as(head) is not None


def _known_as(head: bytes) -> str | None:
    """What a file is that is no model and yet known by its first bytes, and what to do."""
    text = head.lstrip()
    if text.lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "an HTML page, perhaps a download that needed a login; download the file itself"
    if text.startswith((b"{", b"[")):
        return "JSON text"
    for magic, what, action in _MAGICS:
        if head.startswith(magic):
            return f"{what}; {action}"
    if _is_sentencepiece(head):
        return "a sentencepiece tokenizer; give it with --tokenizer, and a weight file here"
    return next((what for pattern, what in _PATTERNS if pattern.match(head)), None)


def _is_sentencepiece(head: bytes) -> bool:
    """Whether this is the start of a ModelProto: a field 1 whose first field is a piece's text."""
    if len(head) < 16 or head[0] != 0x0A or head[2] != 0x0A:
        return False
    message_bytes, text_bytes = head[1], head[3]
    after = head[4 + text_bytes : 5 + text_bytes]
    if text_bytes + 2 == message_bytes < 128:
        return after in (b"\x0a", b"")  # the next piece
    return text_bytes + 2 < message_bytes < 128 and after in (b"\x15", b"\x18", b"")
