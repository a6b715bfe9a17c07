"""Writing GGUF version 3, little-endian, in one pass from the first byte to the last."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.files.gguf.header import DEFAULT_ALIGNMENT
from llama_edu.files.gguf.keys import (
    ACTIVATION,
    ARCHITECTURE,
    END_KEYS,
    OWN_ARCHITECTURE,
    PIECES,
    keys_of_vocabulary,
    packed_entry,
    string,
    with_stored_types,
)
from llama_edu.files.gguf.reader import ROPE_FREQS
from llama_edu.files.gguf.values import MAX_STRINGS
from llama_edu.files.gguf.vocabulary import (
    NO_TOKEN,
    NO_VOCABULARY,
    default_ids,
    gguf_spelling,
    named_ends,
)
from llama_edu.files.layout import LoadTensor, PlannedTensor, TypedValue, as_planned
from llama_edu.files.magic_numbers import GGUF
from llama_edu.files.names import from_ours
from llama_edu.quants.blocks import BLOCK_TYPES, GGML_TYPE_IDS
from llama_edu.rope import llama3_divisors
from llama_edu.vocabulary import Vocabulary

VERSION = 3
QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION since May 2023

_TYPE_IDS = {name: number for number, name in GGML_TYPE_IDS.items()}

#: general.file_type by the type of most weights; `enum llama_ftype` in llama.h.
FILE_TYPES = {
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10,
    "q3_k": 12, "q4_k": 15, "q5_k": 17, "q6_k": 18, "iq4_nl": 25, "iq4_xs": 30, "bf16": 32,
    "tq1_0": 36, "tq2_0": 37, "mxfp4": 38,
}  # fmt: skip

#: Python type of a metadata value -> how it is stored. bool comes first: it is also an int.
_SCALARS: tuple[tuple[type, str], ...] = (
    (bool, "bool"), (int, "u32"), (float, "f32"), (str, "string"),
)  # fmt: skip

_ZEROS = bytes(DEFAULT_ALIGNMENT)


def write_gguf(
    file: BinaryIO,
    config: ModelConfig,
    vocabulary: Vocabulary | None,
    tensors: Sequence[PlannedTensor],
    load: LoadTensor,
    metadata: Mapping[str, str | int | float | bool | TypedValue] | None = None,
    rope_freqs: np.ndarray | None = None,
    settings: Mapping[str, TypedValue] | None = None,
) -> None:
    """Write a whole GGUF file, each tensor as soon as it is loaded.

    Args:
        file: opened for writing; only written to, without reading or seeking.
        tensors: what to write, in this order, padded only for alignment. Norms must be f32.
        load: returns the data of a planned tensor as stored; rows of wq and wk with RoPE's pairs
            side by side.
        metadata: more keys, such as {"general.name": "Stories"}; those that follow from the other
            arguments are left out. A TypedValue keeps its type. Without a `vocabulary`, the keys of
            one are written as they are.
        rope_freqs: (head_dim / 2,) float32 divisors of RoPE's frequencies, as Llama 3.1 needs them;
            made from `config.rope_scaling` where that is "llama3" and none are given.
        settings: keys that win over all that follow from the other arguments.
    Raises:
        RequestError: a type or a value that GGUF cannot express, or a vocabulary of another size
            than the model's.
        ShapeError: `load` returned something other than what was planned.
    """
    if rope_freqs is None and config.rope_scaling and config.rope_scaling.kind == "llama3":
        rope_freqs = llama3_divisors(config)
    for tensor in tensors:
        if tensor.type not in _TYPE_IDS:
            raise RequestError(f"{tensor.name}: type {tensor.type} does not exist in GGUF files")
        if len(tensor.shape) == 1 and tensor.type != "f32":
            raise RequestError(
                f"{tensor.name}: type {tensor.type}, expected f32 for a norm in a GGUF file"
            )
    planned = {from_ours(tensor.name, "gguf"): tensor for tensor in tensors}
    if rope_freqs is not None:
        planned[ROPE_FREQS] = PlannedTensor("rope_freqs", "f32", rope_freqs.shape)
    more = {key: _typed(key, value) for key, value in (metadata or {}).items()}
    carried = keys_of_vocabulary(more) if vocabulary is None and PIECES in more else None
    values = _model_values(config, tensors) | (carried or _vocabulary_values(vocabulary, config))
    values = with_stored_types(values, more, config.head_dim)
    values |= _more_ends(vocabulary, values)
    values |= settings or {}
    entries = [packed_entry(key, value) for key, value in values.items()]
    infos, offset = [], 0
    for name, tensor in planned.items():
        infos.append(_info(name, tensor, offset))
        offset += tensor.n_bytes + _padding(tensor.n_bytes)
    counts = struct.pack("<IQQ", VERSION, len(infos), len(entries))
    header = b"".join([GGUF, counts, *entries, *infos])
    file.write(header + _ZEROS[: _padding(len(header))])
    for tensor in planned.values():
        made_here = tensor.name == "rope_freqs"
        array = rope_freqs.astype("<f4") if made_here and rope_freqs is not None else load(tensor)
        file.write(as_planned(array, tensor))
        file.write(_ZEROS[: _padding(tensor.n_bytes)])


def _padding(n_bytes: int) -> int:
    return -n_bytes % DEFAULT_ALIGNMENT


def _model_values(config: ModelConfig, tensors: Sequence[PlannedTensor]) -> dict[str, TypedValue]:
    """The keys that follow from the sizes and the tensors."""
    bytes_by_type: dict[str, int] = {}
    for tensor in tensors:
        if len(tensor.shape) == 2:
            bytes_by_type[tensor.type] = bytes_by_type.get(tensor.type, 0) + tensor.n_bytes
    most = max(bytes_by_type, key=lambda name: bytes_by_type[name], default="f32")
    values: dict[str, object] = {"general.architecture": ARCHITECTURE}
    if config.activation != "silu":
        values |= {"general.architecture": OWN_ARCHITECTURE, ACTIVATION: config.activation}
    if most in FILE_TYPES:
        values["general.file_type"] = FILE_TYPES[most]
    if any(BLOCK_TYPES[name].block_size > 1 for name in bytes_by_type):
        values["general.quantization_version"] = QUANTIZATION_VERSION
    sizes: dict[str, object] = {
        "context_length": config.max_seq_len,
        "embedding_length": config.dim,
        "block_count": config.n_layers,
        "feed_forward_length": config.hidden_dim,
        "attention.head_count": config.n_heads,
        "attention.head_count_kv": config.n_kv_heads,
        "attention.layer_norm_rms_epsilon": config.norm_eps,
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": config.rope_theta,
        "vocab_size": config.vocab_size,
    }
    if config.head_dim * config.n_heads != config.dim:
        sizes |= {
            "attention.key_length": config.head_dim,
            "attention.value_length": config.head_dim,
        }
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind == "linear":
        sizes |= {"rope.scaling.type": "linear", "rope.scaling.factor": scaling.factor}
    values |= {f"{ARCHITECTURE}.{key}": value for key, value in sizes.items()}
    return {key: _typed(key, value) for key, value in values.items()}


def _vocabulary_values(vocabulary: Vocabulary | None, config: ModelConfig) -> dict[str, TypedValue]:
    """The keys of a vocabulary. RequestError where it has another number of pieces."""
    key = "tokenizer.ggml.{}".format
    if vocabulary is None:
        return {key("model"): TypedValue("string", NO_VOCABULARY[0])}
    n = len(vocabulary)
    if n != config.vocab_size or n > MAX_STRINGS:
        raise RequestError(
            f"vocabulary: has {n:,} pieces, the model {config.vocab_size:,}; give the tokenizer "
            f"that belongs to the model"
        )
    bpe = vocabulary.model == "bpe"
    values = {
        "model": TypedValue("string", "gpt2" if bpe else "llama"),
        "pre": TypedValue("string", vocabulary.pre_tokenizer or "default"),
        "tokens": TypedValue("array of string", gguf_spelling(vocabulary)),
    }
    if not bpe:
        values["scores"] = TypedValue("array of f32", vocabulary.scores)
    values["token_type"] = TypedValue("array of i32", vocabulary.kinds)
    if bpe:
        values["merges"] = TypedValue("array of string", vocabulary.merges)
    ids = {"bos": vocabulary.bos_id, "eos": vocabulary.eos_id, "unknown": vocabulary.unk_id}
    for name, default in default_ids(vocabulary.model).items():
        if ids[name] >= 0:
            values[f"{name}_token_id"] = TypedValue("u32", ids[name])
        elif 0 <= default < n:  # left out, a reader would take the default
            values[f"{name}_token_id"] = TypedValue("u32", NO_TOKEN)
    values["add_bos_token"] = TypedValue("bool", vocabulary.add_bos)
    values["add_space_prefix"] = TypedValue("bool", vocabulary.add_space_prefix)
    if vocabulary.add_eos:
        values["add_eos_token"] = TypedValue("bool", True)
    if vocabulary.removes_spaces:
        values["remove_extra_whitespaces"] = TypedValue("bool", True)
    if vocabulary.charsmap:
        table = np.frombuffer(vocabulary.charsmap, np.uint8)
        values["precompiled_charsmap"] = TypedValue("array of u8", table)
    return {key(name): value for name, value in values.items()}


def _more_ends(
    vocabulary: Vocabulary | None, values: Mapping[str, TypedValue]
) -> dict[str, TypedValue]:
    """Keys for ends beside EOS that are not known by their names; there are only two."""
    if vocabulary is None:
        return {}
    known = {*named_ends(vocabulary), *(values[key].value for key in END_KEYS if key in values)}
    ends = (token for token in vocabulary.other_end_ids if token not in known)
    free = (key for key in END_KEYS if key not in values)
    return {key: TypedValue("u32", token) for key, token in zip(free, ends, strict=False)}


def _typed(key: str, value: object) -> TypedValue:
    """A plain value with the type under which it is stored."""
    if isinstance(value, TypedValue):
        return value
    name = next((kind for python_type, kind in _SCALARS if isinstance(value, python_type)), None)
    if name is None:
        raise RequestError(
            f"metadata {key}: is {type(value).__name__}, expected str, int, float or bool"
        )
    return TypedValue(name, value)


def _info(name: str, tensor: PlannedTensor, offset: int) -> bytes:
    dims = tensor.shape[::-1]  # innermost first
    return (
        string(name.encode())
        + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        + struct.pack("<IQ", _TYPE_IDS[tensor.type], offset)
    )
