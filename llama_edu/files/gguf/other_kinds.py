"""GGUF files that are no models: adapters, importance matrices, vocabularies, other networks."""

from __future__ import annotations

from llama_edu.errors import FormatError
from llama_edu.files.gguf.header import GgufHeader
from llama_edu.text import quoted

#: What general.type says, what the file is, what to do. (gguf-py, constants.py, GGUFType)
_KINDS = {
    "adapter": (
        "a LoRA adapter, which changes a base model and is none itself; give the base model, or "
        "merge the two with llama.cpp's llama-export-lora"
    ),
    "imatrix": "an importance matrix, which helps to quantize a model; give the model itself",
    "mmproj": "the part of a model that reads pictures; give the file of the language model",
}


def refuse_other_kinds(header: GgufHeader) -> None:
    """Raise FormatError, saying what the file is, unless it has the tensors of a model."""
    kind = header.text("general.type", "model")
    if kind in _KINDS:
        raise FormatError(f"{header.path}: general.type is {quoted(kind)}: this is {_KINDS[kind]}")
    if not header.infos and "tokenizer.ggml.tokens" in header.entries:
        raise FormatError(
            f"{header.path}: has a vocabulary and no tensors; llama-edu tokenize can use it, "
            f"everything else needs a model with weights"
        )
