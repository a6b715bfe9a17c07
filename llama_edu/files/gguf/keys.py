"""Keys of a GGUF file: which of them a writer makes itself, and how a value of each type is packed.

Every other key of a GGUF file is carried to another GGUF file as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.files.cursor import LETTERS
from llama_edu.files.gguf.string_array import Texts
from llama_edu.files.gguf.values import VALUE_TYPES
from llama_edu.files.gguf.vocabulary import NO_TOKEN
from llama_edu.files.layout import TypedValue

ARCHITECTURE = "llama"

#: A `llama` that other programs would compute wrongly, as its architecture has no key for what is
#: different; they refuse this name. Its sizes have the keys of `llama`.
OWN_ARCHITECTURE = "llama_edu"
ACTIVATION = f"{OWN_ARCHITECTURE}.feed_forward_activation"


#: What describes one file on disk, not the model in it; never carried, never set by a user.
FILE_PREFIXES = ("split.",)
FILE_KEYS = ("general.architecture", "general.alignment", "general.file_type")

#: What the tensors were made for; a user cannot set it.
TENSOR_KEYS = (
    ACTIVATION,
    *(
        f"{ARCHITECTURE}.{name}"
        for name in (
            "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
            "attention.head_count_kv", "attention.key_length", "attention.value_length",
            "rope.dimension_count", "vocab_size",
        )
    ),
)  # fmt: skip

#: Sizes that only the header says.
STATED_KEYS = tuple(
    f"{ARCHITECTURE}.{name}"
    for name in (
        "context_length", "attention.layer_norm_rms_epsilon", "rope.freq_base",
        "rope.scaling.type", "rope.scaling.factor", "rope.scale_linear",
    )
)  # fmt: skip

#: The arrays of a vocabulary, and the ids and flags that belong to it.
PIECE_KEYS = tuple(
    f"tokenizer.ggml.{name}"
    for name in ("model", "pre", "tokens", "scores", "token_type", "merges", "precompiled_charsmap")
)
ID_KEYS = tuple(
    f"tokenizer.ggml.{name}"
    for name in (
        "bos_token_id", "eos_token_id", "unknown_token_id", "add_bos_token", "add_space_prefix",
        "remove_extra_whitespaces", "add_eos_token",
    )
)  # fmt: skip

#: A file that has this key has a vocabulary, understood or not.
PIECES = "tokenizer.ggml.tokens"

ADD_EOS = "tokenizer.ggml.add_eos_token"
#: The ends of a turn and of a message.
END_KEYS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
ADD_BOS = "tokenizer.ggml.add_bos_token"

#: Left out where heads side by side are as wide as the model.
HEAD_DIM_KEYS = tuple(f"{ARCHITECTURE}.attention.{name}_length" for name in ("key", "value"))

_OWNED = {*FILE_KEYS, *TENSOR_KEYS, *STATED_KEYS, *PIECE_KEYS, *ID_KEYS}


def is_owned(key: str) -> bool:
    """Whether a key follows from the sizes, the vocabulary or the file that is written."""
    return key in _OWNED or key.startswith(FILE_PREFIXES)


def keys_of_model(values: Mapping[str, TypedValue], *, with_pieces: bool) -> dict[str, TypedValue]:
    """The keys of a file that describe the model and not the file.

    Args:
        with_pieces: whether those of the vocabulary's pieces are among them, for a vocabulary that
            is not understood and can only be carried.
    """
    left_out = FILE_KEYS if with_pieces else (*FILE_KEYS, *PIECE_KEYS)
    return {
        key: value
        for key, value in values.items()
        if key not in left_out and not key.startswith(FILE_PREFIXES)
    }


def keys_of_vocabulary(values: Mapping[str, TypedValue]) -> dict[str, TypedValue]:
    """Those keys that a writer makes from a vocabulary it understands."""
    return {key: values[key] for key in (*PIECE_KEYS, *ID_KEYS) if key in values}


def with_stored_types(
    own: Mapping[str, TypedValue], stored: Mapping[str, TypedValue], head_dim: int
) -> dict[str, TypedValue]:
    """What a writer says, with the types that the source gave to the same values.

    Args:
        own: what follows from the sizes and the vocabulary.
        stored: the keys of the source; those that follow from nothing else are added.
        head_dim: the value of the keys that may be left out where it is dim / n_heads.
    """
    values = dict(own)
    bos = own.get("tokenizer.ggml.bos_token_id", TypedValue("u32", NO_TOKEN))
    for key, value in stored.items():
        if not is_owned(key):
            values[key] = value
        elif key in own:
            idle = key == ADD_BOS and bos.value == NO_TOKEN  # the flag of a BOS that is not there
            values[key] = value if idle or _says(value, own[key]) else own[key]
        elif key == ADD_EOS:  # stated, and overruled by another file of the same folder
            values[key] = TypedValue("bool", False)
        elif key in HEAD_DIM_KEYS:
            values[key] = TypedValue("u32", head_dim)
        elif key in STATED_KEYS:  # the source's own way of saying what the sizes say
            values[key] = value
    return values


def _says(stored: TypedValue, own: TypedValue) -> bool:
    """Whether the source's value, perhaps of another type, is the one that we would write."""
    if isinstance(stored.value, np.ndarray):
        return bool((stored.value == own.value).all())
    if stored.type == "f32":
        return np.float32(stored.value) == np.float32(own.value)  # type: ignore[arg-type]
    return stored.value == own.value


def string(text: bytes) -> bytes:
    """A string as version 3 stores it, little-endian."""
    return struct.pack("<Q", len(text)) + text


def type_number(name: str) -> bytes:
    """A value type as its number."""
    return struct.pack("<I", VALUE_TYPES.index(name))


def packed_entry(key: str, value: TypedValue) -> bytes:
    """A key and its value as a file has them. RequestError where they do not fit the type."""
    head = string(key.encode("utf-8", "surrogateescape"))
    kind = value.type.removeprefix("array of ")
    if kind not in VALUE_TYPES or kind == "array":
        raise RequestError(f"metadata {key}: type {value.type} does not exist in GGUF files")
    if kind == value.type:
        return head + type_number(kind) + _scalar(key, kind, value.value)
    count, elements = _elements(key, kind, value.value)
    return head + type_number("array") + type_number(kind) + struct.pack("<Q", count) + elements


def _scalar(key: str, kind: str, value: object) -> bytes:
    if kind == "string":
        if not isinstance(value, str):
            raise RequestError(f"metadata {key}: is {value!a}, expected a text")
        return string(value.encode("utf-8", "surrogateescape"))
    try:
        return struct.pack("<" + LETTERS.get(kind, "?"), value)
    except (struct.error, OverflowError, TypeError):
        raise RequestError(f"metadata {key}: {value} does not fit {kind}") from None


def _elements(key: str, kind: str, values: object) -> tuple[int, bytes]:
    """How many elements an array has, and their bytes."""
    if isinstance(values, Texts):
        return len(values), b"".join(map(string, values.raw))
    if kind == "string" and isinstance(values, Sequence):
        return len(values), b"".join(
            string(text if isinstance(text, bytes) else str(text).encode()) for text in values
        )
    if not isinstance(values, np.ndarray):
        raise RequestError(f"metadata {key}: is {type(values).__name__}, expected an array")
    dtype = np.dtype(np.bool_ if kind == "bool" else "<" + LETTERS[kind])
    return len(values), values.astype(dtype).tobytes()
