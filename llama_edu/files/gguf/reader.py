"""GGUF, llama.cpp's format since August 2023: versions 1 to 3, both byte orders, one or more files.

A GGUF file says everything about its model in typed keys and values, then lists its tensors, then
holds their data at aligned offsets. `header` reads one such header; this file gives it the
meaning of a LLaMA. Pairs of RoPE lie side by side, as in Meta's files.
The reference for what a file leaves out is llama.cpp (llama-model.cpp, llama-vocab.cpp).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from llama_edu.config import Activation, ModelConfig, RopeScaling
from llama_edu.errors import FormatError, ShapeError
from llama_edu.files.gguf.feed_forward import StoredLayout, check_order, read_layout, specs_of
from llama_edu.files.gguf.fields import gaps_between_tensors, sections_of
from llama_edu.files.gguf.header import GgufHeader, TensorInfo, read_header
from llama_edu.files.gguf.keys import (
    ACTIVATION,
    ARCHITECTURE,
    ORDER,
    OWN_ARCHITECTURE,
    keys_of_model,
)
from llama_edu.files.gguf.other_kinds import refuse_other_kinds
from llama_edu.files.gguf.vocabulary import read_gguf_vocabulary, why_not_understood
from llama_edu.files.layout import Checkpoint, TensorSpec, TypedValue
from llama_edu.files.mapped import OpenFiles
from llama_edu.files.weights import check_new, check_tensors, our_tensors
from llama_edu.models.shard_names import shard_name
from llama_edu.text import quoted
from llama_edu.vocabulary import Vocabulary

#: Divisors of RoPE's frequencies, (head_dim / 2,) f32: how Llama 3.1 files say that they scale.
ROPE_FREQS = "rope_freqs.weight"


#: What an order of hidden neurons may be stored as.
_ORDER_TYPES = ("u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64")

#: What this reader adds to the file's own keys; a file cannot set these.
_OWN_KEYS = ("rope_freqs", "gaps_bytes", "alignment_bytes")


def read_gguf(path: Path, files: OpenFiles) -> Checkpoint:
    """The checkpoint in a GGUF file, or in all files of a split one, given any one of them.

    No weight is read. `metadata` has the file's keys and these: "rope_freqs", the TensorSpec of the
    divisors of RoPE's frequencies, if the file has them; "alignment_bytes"; "gaps_bytes", bytes
    between tensors beyond the alignment, if there are any.

    Raises:
        FormatError: the file is damaged or hostile, holds another kind of model, or a shard is
            missing.
    """
    headers = _headers(path, files)
    first = headers[0]
    if len(headers) == 1:
        refuse_other_kinds(first)
    architecture = first.text("general.architecture")
    if architecture not in (ARCHITECTURE, OWN_ARCHITECTURE):
        raise FormatError(
            f"{path}: general.architecture is {quoted(architecture, 60)}, expected "
            f"'{ARCHITECTURE}'; this package computes LLaMA models only"
        )
    problem = why_not_understood(first)
    vocabulary = None if problem else read_gguf_vocabulary(first)
    config = _config(first, vocabulary, [info for header in headers for info in header.infos])
    own: dict[str, object] = {"alignment_bytes": first.alignment}
    layout = read_layout(first)
    tensors, ignored = _tensors(headers, config, layout)
    if "rope_freqs" in tensors:
        own["rope_freqs"] = _checked_divisors(tensors.pop("rope_freqs"), config, headers)
    check_tensors(tensors, config, path)
    check_order(first.numbers(ORDER, _ORDER_TYPES), config, path)
    gaps_bytes = sum(map(gaps_between_tensors, headers))
    if gaps_bytes:
        own["gaps_bytes"] = gaps_bytes
    big = ", big-endian" if first.order == ">" else ""
    n_files = f", {len(headers)} files" if len(headers) > 1 else ""
    return Checkpoint(
        format=f"GGUF v{first.version}{big}{n_files}",
        recognized_by="the bytes GGUF at the start",
        paths=tuple(header.path for header in headers),
        config=config,
        tensors=tensors,
        vocabulary=vocabulary,
        sections=tuple(s for i, header in enumerate(headers) for s in sections_of(header, i)),
        ignored=ignored,
        metadata={k: e.value for k, e in first.entries.items() if k not in _OWN_KEYS} | own,
        carried=keys_of_model(
            {k: TypedValue(e.type, e.value) for k, e in first.entries.items()},
            with_pieces=bool(problem),
        ),
        assumed=_assumed(first),
        vocabulary_problem=problem,
        layout=layout.name,
    )


def _headers(path: Path, files: OpenFiles) -> list[GgufHeader]:
    """The headers of all shards in order; one for a model in one file."""
    found = read_header(files.open(path).data, path)
    paths = _shard_paths(path, found)
    if len(paths) == 1:
        return [found]
    headers = [found if p == path else read_header(files.open(p).data, p) for p in paths]
    _check_shards(headers)
    return headers


def _tensors(
    headers: Sequence[GgufHeader], config: ModelConfig, layout: StoredLayout
) -> tuple[dict[str, TensorSpec], tuple[str, ...]]:
    """All tensors by our names, including "rope_freqs", and the names of those not needed."""
    tensors: dict[str, TensorSpec] = {}
    ignored: list[str] = []
    for index, header in enumerate(headers):
        for info in header.infos:
            ours = specs_of(info, layout, header, index)
            spec = _spec(info, header, index)
            if info.name == ROPE_FREQS:
                ours = [replace(spec, name="rope_freqs", stored_name=info.name)]
            elif ours is None:
                ours = our_tensors(spec, "gguf", header.path, config)
            if not ours:
                ignored.append(info.name)
            check_new(ours, tensors, header.path)
            tensors |= {tensor.name: tensor for tensor in ours}
    return tensors, tuple(ignored)


def _checked_divisors(
    spec: TensorSpec, config: ModelConfig, headers: Sequence[GgufHeader]
) -> TensorSpec:
    """The divisors of RoPE's frequencies; FormatError unless there is one for each pair."""
    expected = (config.head_dim // 2,)
    if (spec.type, spec.shape) != ("f32", expected):
        raise FormatError(
            f"{headers[spec.file].path}: {ROPE_FREQS} is {spec.type} {spec.shape}, expected f32 "
            f"{expected}; the file is damaged"
        )
    return spec


def _spec(info: TensorInfo, header: GgufHeader, file: int) -> TensorSpec:
    return TensorSpec(
        info.name, info.type, info.shape, header.data_offset + info.offset, info.n_bytes, file,
        big_endian=header.order == ">",
    )  # fmt: skip


def _shard_paths(path: Path, header: GgufHeader) -> list[Path]:
    """All files of a split model in order; only the given path if the model is not split."""
    count = header.integer("split.count", 1)
    if count <= 1:
        return [path]
    named = shard_name(path.name)
    if named is None or named.n_shards != count:
        raise FormatError(
            f"{path}: is one of {count:,} files of a split model, expected a name that ends in "
            f"-00001-of-{count:05d}.gguf; restore the files' names"
        )
    paths = [path.with_name(name) for name in named.all_names()]  # count has at most five digits
    for shard in paths:
        if not shard.is_file():
            raise FormatError(
                f"{shard}: is missing, one of {count} files of a split model; download it too"
            )
    return paths


def _check_shards(headers: Sequence[GgufHeader]) -> None:
    """Raise FormatError unless the files are the numbered shards of one model."""
    first = headers[0]
    for i, header in enumerate(headers):
        found = header.integer("split.no"), header.integer("split.count")
        if found != (i, len(headers)) or header.order != first.order:
            raise FormatError(
                f"{header.path}: has split.no {found[0]} of split.count {found[1]}, expected {i} "
                f"of {len(headers)} in one byte order; its name is that of another file"
            )
    n_tensors = sum(len(header.infos) for header in headers)
    stated = first.integer("split.tensors.count", n_tensors)
    if stated != n_tensors:
        raise FormatError(
            f"{first.path}: the {len(headers)} files have {n_tensors:,} tensors, expected "
            f"{stated:,} by split.tensors.count; one file is from another model"
        )


def _config(
    header: GgufHeader, vocabulary: Vocabulary | None, infos: Sequence[TensorInfo]
) -> ModelConfig:
    """Sizes from the keys. Raises FormatError if two contradict each other."""
    key = f"{ARCHITECTURE}.{{}}".format
    n_experts = header.integer(key("expert_count"), 0)
    n_used = header.integer(key("expert_used_count"), None if n_experts else 0)
    if n_experts:
        _check_kind_of_experts(header)
    n_layers = header.integer(key("block_count"))
    n_heads = _same_in_all_layers(header, key("attention.head_count"))
    n_kv_heads = _same_in_all_layers(header, key("attention.head_count_kv"), n_heads)
    vocab_size = header.integer(
        key("vocab_size"),
        _rows_of_embedding(header, infos, len(vocabulary) if vocabulary else None),
    )
    head_dim = header.integer(key("attention.key_length"), 0)
    try:
        config = ModelConfig(
            dim=header.integer(key("embedding_length")),
            hidden_dim=_same_in_all_layers(header, key("feed_forward_length")),
            n_layers=n_layers,
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            vocab_size=vocab_size,
            max_seq_len=header.integer(key("context_length")),
            norm_eps=header.number(key("attention.layer_norm_rms_epsilon")),
            rope_theta=header.number(key("rope.freq_base"), 10000.0),
            head_dim=head_dim,
            activation=_activation(header),
            rope_scaling=_rope_scaling(header, key("rope")),
            n_experts=n_experts,
            n_experts_per_token=n_used,
        )
    except ShapeError as error:
        raise FormatError(f"{header.path}: {error}; the file is damaged") from None
    for name in ("attention.value_length", "rope.dimension_count"):
        found = header.integer(key(name), config.head_dim)
        if found != config.head_dim:
            raise FormatError(
                f"{header.path}: {key(name)} is {found:,}, expected the head's width "
                f"{config.head_dim:,}; this kind of LLaMA is not supported"
            )
    if vocabulary is not None and len(vocabulary) > config.vocab_size:
        raise FormatError(
            f"{header.path}: {key('vocab_size')} is {config.vocab_size:,}, "
            f"tokenizer.ggml.tokens has {len(vocabulary):,}; expected no more, the file is damaged"
        )
    return config


#: What a file may say of its experts, where it says it: softmax over all of them, then the sum of
#: the chosen ones made 1. llama.cpp computes a `llama` in no other way, whatever these keys say.
_MIXTRAL = {
    "expert_gating_func": (1,),
    "expert_weights_norm": (True,),
    "expert_weights_scale": (0, 1),
    "expert_shared_count": (0,),
    "expert_shared_feed_forward_length": (0,),
    "expert_group_count": (0, 1),
}


def _check_kind_of_experts(header: GgufHeader) -> None:
    """Raise FormatError for experts that are chosen or added up in another way than Mixtral's."""
    for name, possible in _MIXTRAL.items():
        entry = header.entries.get(f"{ARCHITECTURE}.{name}")
        if entry is None or (isinstance(entry.value, int | float) and entry.value in possible):
            continue
        raise FormatError(
            f"{header.path}: {ARCHITECTURE}.{name} is {quoted(str(entry.value), 40)}, expected "
            f"{' or '.join(map(str, possible))}; only experts as in Mixtral are supported"
        )


def _activation(header: GgufHeader) -> Activation:
    """ReLU can be said by our own architecture only; a file of `llama` that says it is refused."""
    found = header.text(ACTIVATION, "silu")
    plain = header.text("general.architecture") == ARCHITECTURE
    possible: tuple[Activation, ...] = ("silu",) if plain else get_args(Activation)
    for activation in possible:
        if found == activation:
            return activation
    raise FormatError(
        f"{header.path}: {ACTIVATION} is {quoted(found, 40)}, expected {' or '.join(possible)} in "
        f"a file of this architecture; the file is damaged"
    )


def _assumed(header: GgufHeader) -> dict[str, str]:
    """What the keys leave out and llama.cpp takes for granted."""
    if f"{ARCHITECTURE}.rope.freq_base" in header.entries:
        return {}
    return {"rope_theta": f"{ARCHITECTURE}.rope.freq_base is missing; llama.cpp's default"}


def _rows_of_embedding(header: GgufHeader, infos: Sequence[TensorInfo], default: int | None) -> int:
    for info in infos:
        if info.name == "token_embd.weight" and len(info.shape) == 2:
            return info.shape[0]
    if default is not None:
        return default
    raise FormatError(
        f"{header.path}: has no matrix token_embd.weight, expected one; the file is incomplete"
    )


def _same_in_all_layers(header: GgufHeader, key: str, default: int | None = None) -> int:
    """A size that may differ by layer in the format, but is the same in all layers of a LLaMA."""
    entry = header.entries.get(key)
    if entry is None or not isinstance(entry.value, np.ndarray):
        return header.integer(key, default)
    values = entry.value
    if values.dtype.kind not in "iu" or len(values) == 0 or (values != values[0]).any():
        raise FormatError(
            f"{header.path}: {key} is {entry.type} with {len(values):,} entries, expected one "
            f"whole number for all layers; models whose layers differ are not supported"
        )
    return int(values[0])


def _rope_scaling(header: GgufHeader, key: str) -> RopeScaling | None:
    """The scaling that the keys name. Llama 3.1 names none: its files carry ROPE_FREQS instead.

    As in llama.cpp, a factor without a type is linear, and the old key counts where the new one
    is missing.
    """
    kind = header.text(f"{key}.scaling.type", "linear")
    factor = header.number(f"{key}.scaling.factor", header.number(f"{key}.scale_linear", 0.0))
    if kind == "none" or (kind == "linear" and factor in (0.0, 1.0)):
        return None
    if kind != "linear":
        raise FormatError(
            f"{header.path}: {key}.scaling.type is {quoted(kind, 40)}, expected none or linear; "
            f"this way of stretching RoPE is not supported"
        )
    return RopeScaling("linear", factor)
