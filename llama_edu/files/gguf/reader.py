"""GGUF, llama.cpp's format since August 2023: versions 1 to 3, either byte order, split or whole.

A GGUF file says everything about its model in typed keys and values, then lists its tensors, then
holds their data at aligned offsets. `header` reads one such header; this file gives it the
meaning of a LLaMA. Pairs of RoPE lie side by side, as in Meta's files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from llama_edu.config import ModelConfig, RopeScaling
from llama_edu.errors import FormatError, ShapeError
from llama_edu.files.cursor import Cursor
from llama_edu.files.fields import Field, shown
from llama_edu.files.gguf.header import Entry, GgufHeader, TensorInfo, read_header
from llama_edu.files.gguf.string_array import Texts
from llama_edu.files.gguf.vocabulary import read_gguf_vocabulary
from llama_edu.files.layout import Checkpoint, Section, TensorSpec, check_tensors
from llama_edu.files.mapped import MappedFile
from llama_edu.files.names import to_ours
from llama_edu.text import one_line, quoted
from llama_edu.vocabulary import Vocabulary

ARCHITECTURE = "llama"

#: Divisors of RoPE's frequencies, (head_dim / 2,) f32: how Llama 3.1 files say that they scale.
ROPE_FREQS = "rope_freqs.weight"

#: Tensors that old converters wrote and that nothing computes with.
_HARMLESS = re.compile(r"blk\.\d+\.(attn_rot_embd|rope_freqs)(\.weight)?")

_SPLIT_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.gguf)?", re.DOTALL)

#: What this reader adds to the file's own keys; a file cannot set these.
_OWN_KEYS = ("rope_freqs", "gaps_bytes", "alignment_bytes")


def read_gguf(path: Path) -> Checkpoint:
    """The checkpoint in a GGUF file, or in all files of a split one, found from any one of them.

    No weight is read and no file stays open. `metadata` has the file's keys, and besides:
    "rope_freqs", the TensorSpec of the divisors of RoPE's frequencies where the file has them;
    "alignment_bytes"; "gaps_bytes", bytes between tensors that alignment does not explain.

    Raises:
        FormatError: the file is damaged or hostile, is another kind of model, or a part is missing.
    """
    path = Path(path)
    headers = [_open_header(path)]
    paths = _split_paths(path, headers[0])
    if len(paths) > 1:
        headers = [_open_header(part) for part in paths]
        _check_parts(headers)
    first = headers[0]
    architecture = first.text("general.architecture")
    if architecture != ARCHITECTURE:
        raise FormatError(
            f"{path}: general.architecture is {quoted(architecture, 60)}, expected "
            f"'{ARCHITECTURE}'; this package computes LLaMA models only"
        )
    infos = [(info, header, i) for i, header in enumerate(headers) for info in header.infos]
    vocabulary = read_gguf_vocabulary(first)
    config = _config(first, vocabulary, [info for info, _, _ in infos])
    tensors: dict[str, TensorSpec] = {}
    ignored: list[str] = []
    rope_freqs: TensorSpec | None = None
    for info, header, index in infos:
        if info.name == ROPE_FREQS:
            rope_freqs = _spec("rope_freqs", info, header, index)
            if (info.type, info.shape) != ("f32", (config.head_dim // 2,)):
                raise FormatError(
                    f"{header.path}: {ROPE_FREQS} is {info.type} {info.shape}, expected f32 "
                    f"{(config.head_dim // 2,)}; the file is damaged"
                )
        elif _HARMLESS.fullmatch(info.name):
            ignored.append(info.name)
        else:
            name = to_ours(info.name, "gguf")
            if name is None:
                raise FormatError(
                    f"{header.path}: has a tensor {one_line(info.name)}, which no LLaMA has; "
                    f"this is another kind of model"
                )
            if name in tensors:
                raise FormatError(f"{header.path}: tensor {info.name} is in two files of the split")
            tensors[name] = _spec(name, info, header, index)
    check_tensors(tensors, config, path)
    gaps_bytes = sum(_check_layout(header) for header in headers)
    own: dict[str, object] = {"alignment_bytes": first.alignment}
    if rope_freqs is not None:
        own["rope_freqs"] = rope_freqs
    if gaps_bytes:
        own["gaps_bytes"] = gaps_bytes
    big = ", big-endian" if first.order == ">" else ""
    files = f", {len(paths)} files" if len(paths) > 1 else ""
    return Checkpoint(
        format=f"GGUF v{first.version}{big}{files}",
        recognized_by="the bytes GGUF at the start",
        paths=tuple(paths),
        config=config,
        tensors=tensors,
        vocabulary=vocabulary,
        sections=tuple(
            section for i, header in enumerate(headers) for section in _sections(header, i)
        ),
        ignored=tuple(ignored),
        metadata={k: e.value for k, e in first.entries.items() if k not in _OWN_KEYS} | own,
    )


def _open_header(path: Path) -> GgufHeader:
    with MappedFile(path) as mapped:
        return read_header(mapped.mmap, path)


def _spec(name: str, info: TensorInfo, header: GgufHeader, file: int) -> TensorSpec:
    return TensorSpec(
        name, info.type, info.shape, header.data_offset + info.offset, info.n_bytes, file,
        info.name, big_endian=header.order == ">",
    )  # fmt: skip


def _split_paths(path: Path, header: GgufHeader) -> list[Path]:
    """All files of a split model in order; the one path when the model is not split."""
    count = header.integer("split.count", 1)
    if count <= 1:
        return [path]
    found = _SPLIT_NAME.fullmatch(path.name)
    if found is None or int(found[3]) != count:
        raise FormatError(
            f"{path}: is one of {count:,} files of a split model, expected a name that ends in "
            f"-00001-of-{count:05d}.gguf; give the files their names back"
        )
    stem, suffix = found[1], found[4] or ""
    paths = []
    for i in range(count):  # count has five digits at most: the name says the same
        part = path.with_name(f"{stem}-{i + 1:05d}-of-{count:05d}{suffix}")
        if not part.is_file():
            raise FormatError(
                f"{part}: is missing, one of {count} files of a split model; download it too"
            )
        paths.append(part)
    return paths


def _check_parts(headers: Sequence[GgufHeader]) -> None:
    """Raise FormatError unless the files are the numbered parts of one model."""
    first = headers[0]
    for i, header in enumerate(headers):
        found = header.integer("split.no"), header.integer("split.count")
        if found != (i, len(headers)) or header.order != first.order:
            raise FormatError(
                f"{header.path}: says split.no {found[0]} of split.count {found[1]}, expected {i} "
                f"of {len(headers)} in one byte order; its name is that of another file"
            )
    n_tensors = sum(len(header.infos) for header in headers)
    stated = first.integer("split.tensors.count", n_tensors)
    if stated != n_tensors:
        raise FormatError(
            f"{first.path}: the {len(headers)} files have {n_tensors:,} tensors, expected "
            f"{stated:,} by split.tensors.count; a file is of another model"
        )


def _config(
    header: GgufHeader, vocabulary: Vocabulary | None, infos: Sequence[TensorInfo]
) -> ModelConfig:
    """Sizes from the keys. Raises FormatError where two contradict each other."""
    key = f"{ARCHITECTURE}.{{}}".format
    for unsupported in ("expert_count", "expert_used_count"):
        if header.integer(key(unsupported), 0):
            raise FormatError(
                f"{header.path}: {key(unsupported)} is {header.integer(key(unsupported))}, "
                f"expected none; mixtures of experts are not supported"
            )
    n_layers = header.integer(key("block_count"))
    n_heads = _same_in_all_layers(header, key("attention.head_count"))
    n_kv_heads = _same_in_all_layers(header, key("attention.head_count_kv"), n_heads)
    vocab_size = header.integer(
        key("vocab_size"),
        len(vocabulary) if vocabulary else _rows_of_embedding(header, infos),
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
            rope_scaling=_rope_scaling(header, key("rope")),
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
    if vocabulary is not None and len(vocabulary) != config.vocab_size:
        raise FormatError(
            f"{header.path}: {key('vocab_size')} is {config.vocab_size:,}, "
            f"tokenizer.ggml.tokens has {len(vocabulary):,}; expected the same, the file is damaged"
        )
    return config


def _rows_of_embedding(header: GgufHeader, infos: Sequence[TensorInfo]) -> int:
    for info in infos:
        if info.name == "token_embd.weight" and len(info.shape) == 2:
            return info.shape[0]
    raise FormatError(
        f"{header.path}: has no matrix token_embd.weight, expected one; the file is incomplete"
    )


def _same_in_all_layers(header: GgufHeader, key: str, default: int | None = None) -> int:
    """A size that the format allows to differ by layer, and that a LLaMA has only once."""
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
    """The scaling that the keys name. Llama 3.1 names none: its files carry ROPE_FREQS instead."""
    kind = header.text(f"{key}.scaling.type", "none")
    factor = header.number(f"{key}.scaling.factor", 0.0)
    if f"{key}.scaling.type" not in header.entries and f"{key}.scale_linear" in header.entries:
        kind, factor = "linear", header.number(f"{key}.scale_linear")
    if kind == "none" or (kind == "linear" and factor in (0.0, 1.0)):
        return None
    if kind != "linear":
        raise FormatError(
            f"{header.path}: {key}.scaling.type is {quoted(kind, 40)}, expected none or linear; "
            f"this way of stretching RoPE is not supported"
        )
    return RopeScaling("linear", factor)


def _check_layout(header: GgufHeader) -> int:
    """Bytes between tensors beyond what alignment needs; FormatError where two overlap."""
    gaps_bytes, end, before = 0, 0, ""
    for info in sorted(header.infos, key=lambda info: (info.offset, info.n_bytes)):
        if info.n_bytes == 0:
            continue
        if info.offset < end:
            raise FormatError(
                f"{header.path}: tensors {before} and {info.name} overlap by "
                f"{end - info.offset:,} bytes; the file is damaged"
            )
        gaps_bytes += info.offset - -(-end // header.alignment) * header.alignment
        end, before = info.offset + info.n_bytes, info.name
    return gaps_bytes


def _sections(header: GgufHeader, file: int) -> Iterator[Section]:
    """Every byte that is no tensor's, in order; parts of later files say which file."""
    of_file = f" (file {file + 1})" if file else ""

    def section(name: str, start: int, end: int) -> Iterator[Section]:
        if end > start:
            yield Section(name + of_file, start, end - start)

    yield from section("header", 0, header.metadata_offset)
    start, kind = header.metadata_offset, ""
    previous_end = start
    for key, entry in header.entries.items():
        this = "vocabulary" if key.startswith("tokenizer.ggml.") else "metadata"
        if this != kind:
            yield from section(kind, start, previous_end)
            start, kind = previous_end, this
        previous_end = entry.offset + entry.n_bytes
    yield from section(kind, start, header.infos_offset)
    yield from section("tensor infos", header.infos_offset, header.infos_end)
    end = header.infos_end
    for info in sorted(header.infos, key=lambda info: info.offset):
        start = header.data_offset + info.offset
        yield from section("padding", end, start)
        end = max(end, start + info.n_bytes)
    aligned = min(-(-end // header.alignment) * header.alignment, header.n_bytes)
    yield from section("padding", end, aligned)
    yield from section("trailing", aligned, header.n_bytes)


def gguf_fields(path: Path) -> Iterator[Field]:
    """Every field of one GGUF file in order, for an annotated hex view; tensors are one field each.

    Elements of arrays are made while iterating. Raises FormatError after the fields that could be
    read, where the header is damaged.
    """
    path = Path(path)
    error, header = None, None
    with MappedFile(path) as mapped:
        cursor = Cursor(mapped.mmap, path, trace=True)
        try:
            header = read_header(mapped.mmap, path, cursor)
        except FormatError as found:
            error = found.with_traceback(None)
    entries: Mapping[str, Entry] = header.entries if header else {}
    arrays = {e.offset + e.n_bytes: (k, e) for k, e in entries.items() if e.type[:5] == "array"}
    for field in cursor.fields or ():
        key, entry = arrays.get(field.end, ("", None))
        if header is not None and entry is not None and " x " in field.name:
            yield from _elements(field, key, entry, header)
        else:
            yield field
    if error is not None:
        raise error
    assert header is not None
    _check_layout(header)
    end = header.infos_end
    for info in sorted(header.infos, key=lambda info: info.offset):
        start = header.data_offset + info.offset
        if start > end:
            yield Field(end, start - end, "padding", "")
        if info.n_bytes:
            yield Field(start, info.n_bytes, one_line(info.name), f"{info.type} {info.shape}")
        end = max(end, start + info.n_bytes)
    if header.n_bytes > end:
        yield Field(end, header.n_bytes - end, "padding or trailing bytes", "")


def _elements(field: Field, key: str, entry: Entry, header: GgufHeader) -> Iterator[Field]:
    """The elements of one array, each with its index."""
    if isinstance(entry.value, Texts):
        length_bytes = 4 if header.version == 1 else 8
        for i, (start, end) in enumerate(entry.value.raw.spans()):
            at = field.offset + start
            text_bytes = end - start - length_bytes
            yield Field(at, length_bytes, f"{key}[{i}]: length", str(text_bytes))
            if text_bytes:
                yield Field(
                    at + length_bytes, text_bytes, f"{key}[{i}]: text", shown(entry.value.raw[i])
                )
    elif isinstance(entry.value, np.ndarray):
        n_bytes = entry.value.dtype.itemsize
        for i, value in enumerate(entry.value):
            yield Field(field.offset + i * n_bytes, n_bytes, f"{key}[{i}]", str(value))
