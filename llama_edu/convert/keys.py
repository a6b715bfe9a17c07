"""Keys that a user sets or drops: which are allowed, and what type a value has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from llama_edu.errors import RequestError
from llama_edu.files.gguf.keys import (
    END_KEYS,
    FILE_KEYS,
    FILE_PREFIXES,
    ID_KEYS,
    ORDER,
    PIECE_KEYS,
    STATED_KEYS,
    TENSOR_KEYS,
    packed_entry,
)
from llama_edu.files.layout import TypedValue
from llama_edu.text import quoted
from llama_edu.vocabulary import Vocabulary

_INTEGERS = ("u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64")
_FLAGS = {"true": True, "false": False, "1": True, "0": False}

#: The types of keys that a source may lack.
_KNOWN_TYPES = {
    **dict.fromkeys(STATED_KEYS, "f32"),
    STATED_KEYS[0]: "u32",  # the context's length
    "llama.rope.scaling.type": "string",
    **{key: "u32" if key.endswith("_id") else "bool" for key in ID_KEYS},
    **dict.fromkeys(END_KEYS, "u32"),
    "tokenizer.ggml.padding_token_id": "u32",
    "tokenizer.chat_template": "string",
}


def assigned(texts: Sequence[str]) -> dict[str, str]:
    """Key -> value of "KEY=VALUE" texts. RequestError for a text without an equals sign."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise RequestError(f"--set {quoted(text, 60)}: expected KEY=VALUE")
        found[key] = value
    return found


def check_keys(set_keys: Mapping[str, str], drop_keys: Sequence[str], format_name: str) -> None:
    """Raise RequestError for keys that cannot be set or dropped in a file of this format."""
    if set_keys and format_name != "gguf":
        raise RequestError(
            f"--set {quoted(next(iter(set_keys)), 60)}: {format_name} has no keys; convert to gguf"
        )
    for key in (*set_keys, *drop_keys):
        fixed = (*FILE_KEYS, *PIECE_KEYS, *TENSOR_KEYS)
        if key in (*fixed, ORDER) or key.startswith(FILE_PREFIXES):
            raise RequestError(
                f"key {quoted(key, 60)}: follows from the tensors, the pieces or the file; it "
                f"cannot be set or dropped"
            )
    for key in drop_keys:
        if key in (*STATED_KEYS, *ID_KEYS):
            raise RequestError(f"key {quoted(key, 60)}: is always written; set it to another value")


def parsed(set_keys: Mapping[str, str], stored: Mapping[str, TypedValue]) -> dict[str, TypedValue]:
    """Values of the type that the key has in the source, or else of the type that they look like.

    Raises RequestError for a text that is no value of this type.
    """
    values = {}
    for key, text in set_keys.items():
        kind = stored[key].type if key in stored else _KNOWN_TYPES.get(key) or _looks_like(text)
        values[key] = TypedValue(kind, _value(key, kind, text))
        packed_entry(key, values[key])
    return values


def changed(stored: Mapping[str, TypedValue], drop_keys: Sequence[str]) -> dict[str, TypedValue]:
    """What is carried without the keys that are dropped. RequestError for one that is not there."""
    for key in drop_keys:
        if key not in stored:
            raise RequestError(f"--drop {quoted(key, 60)}: the source has no such key")
    return {key: value for key, value in stored.items() if key not in drop_keys}


def without_dropped_ends(
    vocabulary: Vocabulary, stored: Mapping[str, TypedValue], drop_keys: Sequence[str]
) -> Vocabulary:
    """The vocabulary without ends whose keys are dropped."""
    dropped = {stored[key].value for key in drop_keys if key in END_KEYS and key in stored}
    others = tuple(token for token in vocabulary.other_end_ids if token not in dropped)
    return replace(vocabulary, other_end_ids=others)


def _looks_like(text: str) -> str:
    if text in ("true", "false"):
        return "bool"
    try:
        return "i32" if int(text) < 0 else "u32" if int(text) < 2**32 else "u64"
    except ValueError:
        pass
    try:
        float(text)
    except ValueError:
        return "string"
    return "f32"


def _value(key: str, kind: str, text: str) -> object:
    try:
        if kind == "string":
            return text
        if kind == "bool":
            return _FLAGS[text.lower()]
        if kind in _INTEGERS:
            return int(text)
        if kind in ("f32", "f64"):
            return float(text)
    except (KeyError, ValueError):
        raise RequestError(f"--set {key}: {quoted(text, 60)} is no {kind}") from None
    raise RequestError(f"--set {key}: is {kind} in the source, which cannot be set")
