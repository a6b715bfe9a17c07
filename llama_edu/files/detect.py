"""Which format is this? Told by content, never by the file's name.

Each reader is imported when its format turns up, so that opening one format does not pay for all.
"""

from __future__ import annotations

import os
from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files.layout import Checkpoint
from llama_edu.files.mapped import open_weights

#: The three magic numbers of ggml, ggmf and ggjt as they lie on disk.
_GGML_MAGICS = (b"lmgg", b"fmgg", b"tjgg")

#: A zip, which torch has written since 1.6, and the number with which it began before.
_TORCH_MAGICS = (b"PK\x03\x04", bytes.fromhex("80028a0a6cfc9c46f9206aa85019"))

#: First bytes of files that people have in the place of a model, what they are, what to do.
_NOT_MODELS = (
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
    (b"\x0a", "a sentencepiece tokenizer", "give it with --tokenizer, and a weight file here"),
)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the header of any weight file, or the headers in any folder, that this package knows.

    No weight is read. Errors say what the file is when that can be told.

    Raises:
        FormatError: no such file, or nothing that this package reads.
    """
    path = Path(path)
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        return _read_folder(path)
    with open_weights(path) as file:
        head = file.read(64)
    file_bytes = path.stat().st_size
    if not head:
        raise FormatError(f"{path}: is empty, expected a weight file; download it again")
    if head.startswith(b"GGUF"):
        from llama_edu.files.gguf.reader import read_gguf

        return read_gguf(path)
    if head.startswith(_GGML_MAGICS):
        from llama_edu.files.ggml.reader import read_ggml

        return read_ggml(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < file_bytes:
        from llama_edu.files.huggingface.safetensors import read_safetensors

        return read_safetensors(path)
    if head.startswith(_TORCH_MAGICS):
        from llama_edu.files.torch.training import read_training_checkpoint

        return read_training_checkpoint(path)
    from llama_edu.files import llama2c

    if head.startswith(llama2c.MAGIC_V1) or llama2c.looks_like_llama2c(head, file_bytes):
        return llama2c.read_llama2c(path)
    raise FormatError(f"{path}: {_what_it_is(path, head)}")


def _read_folder(path: Path) -> Checkpoint:
    from llama_edu.files.huggingface import folder as huggingface
    from llama_edu.files.torch.meta_folder import is_meta_folder, read_meta_folder

    if is_meta_folder(path):
        return read_meta_folder(path)
    if huggingface.is_huggingface_folder(path):
        return huggingface.read_huggingface(path)
    raise FormatError(
        f"{path}: this folder has neither consolidated.00.pth (Meta's layout) nor config.json with "
        f"weights (Hugging Face's); give a folder with weights, or one weight file"
    )


def _what_it_is(path: Path, head: bytes) -> str:
    """The rest of a sentence about a file that cannot be read."""
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return (
            f"starts with {head[:24]!r}, expected a weight file; this is an HTML page, perhaps "
            f"a download that needed a login; download the file itself"
        )
    if head.lstrip().startswith((b"{", b"[")):
        return f"starts with {head[:24]!r}, expected a weight file; this is JSON text"
    for magic, what, action in _NOT_MODELS:
        if head.startswith(magic):
            return f"starts with {head[:24]!r}, expected a weight file; this is {what}; {action}"
    if len(head) >= 28 and 0 < int.from_bytes(head[:4], "little") < 2**20:
        from llama_edu.files.llama2c import read_llama2c

        try:
            read_llama2c(path)
        except FormatError as error:
            return (
                f"starts with {head[:8]!r}, which no format begins with; read as a llama2.c file, "
                f"{str(error).partition(': ')[2]}"
            )
    return (
        f"starts with {head[:8]!r}, expected ggml, ggmf, ggjt, GGUF, safetensors, a llama2.c file, "
        f"or a folder in Meta's layout; check what was downloaded"
    )
