"""What a conversion lost: the destination is read again and compared with its source.

Nothing is believed of a writer. Every fact that the source's reader found is looked for among those
that the destination's reader finds; each that is missing or different becomes a sentence that
begins with its name.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from llama_edu.convert.planning import vocabulary_of
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.gguf.keys import END_KEYS, is_owned, keys_of_vocabulary
from llama_edu.files.gguf.vocabulary import gguf_spelling
from llama_edu.files.huggingface.companions import carried_from_config, is_said_otherwise
from llama_edu.files.huggingface.folder import read_huggingface
from llama_edu.files.layout import Checkpoint, TensorSpec
from llama_edu.files.mapped import MappedFile, OpenFiles
from llama_edu.rope import rope_frequencies
from llama_edu.vocabulary import CONTROL, UNKNOWN, USER_DEFINED, Vocabulary

#: Tensors that repeat what rope_theta says.
_MADE_AGAIN = re.compile(r".*(rope|freqs|rotary|attn_rot).*", re.DOTALL)

#: What headers of other formats say: sizes and how the bytes lie, all of which are compared above.
_SIZES = frozenset(
    (
        "dim", "multiple_of", "ffn_dim_multiplier", "hidden_dim", "n_heads", "n_kv_heads",
        "n_layers", "norm_eps", "vocab_size", "max_seq_len", "rope_theta", "use_scaled_rope",
        "head_dim", "rope_scale_factor", "ftype", "n_rot", "padding_bytes", "shared_classifier",
        "group_size", "rope_freqs", "gaps_bytes", "alignment_bytes",
    )
)  # fmt: skip

#: A key that a user may set -> the facts that change with it.
_CHANGED_BY = {
    "llama.context_length": "max_seq_len",
    "llama.attention.layer_norm_rms_epsilon": "norm_eps",
    "llama.rope.freq_base": "rope_theta",
    "llama.rope.scaling.type": "rope scaling",
    "llama.rope.scaling.factor": "rope scaling",
    "llama.rope.scale_linear": "rope scaling",
    "tokenizer.ggml.bos_token_id": "vocabulary.bos_id",
    "tokenizer.ggml.eos_token_id": "vocabulary.eos_id",
    "tokenizer.ggml.unknown_token_id": "vocabulary.unk_id",
    "tokenizer.ggml.add_bos_token": "vocabulary.add_bos",
    "tokenizer.ggml.add_space_prefix": "vocabulary.add_space_prefix",
    "tokenizer.ggml.add_eos_token": "vocabulary.add_eos",
    **dict.fromkeys(END_KEYS, "vocabulary.end_ids"),
}

#: What a reader of the sentence cannot know.
_MEANS = {
    "vocabulary.end_ids": " (the ids that end a text)",
    "vocabulary.doubles_space": " (whether a text that begins with a space gets one more)",
    "vocabulary.prefixes_every_part": " (whether text after a special piece gets a space)",
    "vocabulary.cuts_at_user_defined": " (whether text after a user-defined piece does, too)",
}

#: A fact with a value too long to be shown.
_SHOWN = 40


def facts_of(
    checkpoint: Checkpoint, vocabulary: Vocabulary | None, view: Callable[[TensorSpec], np.ndarray]
) -> dict[str, object]:
    """Everything that a checkpoint says but the numbers of its weights, by name.

    Args:
        vocabulary: the checkpoint's own, or that of the tokenizer beside it.
        view: gives the stored numbers of a tensor.
    """
    config = checkpoint.config
    left_out = ("rope_pairing", "rope_scaling")  # an order of rows, and the rule behind the facts
    facts: dict[str, object] = {
        field.name: getattr(config, field.name)
        for field in fields(config)
        if field.name not in left_out
    }
    facts["tied output"] = checkpoint.tied_output
    stored = checkpoint.metadata.get("rope_freqs")
    divisors = view(stored) if isinstance(stored, TensorSpec) else None
    plain = rope_frequencies(config, np.ones(config.head_dim // 2))
    facts["rope scaling"] = plain / rope_frequencies(config, divisors)
    for name in checkpoint.ignored:
        if not _MADE_AGAIN.fullmatch(name):
            facts[f"tensor {name}"] = None
    in_keys = keys_of_vocabulary(checkpoint.carried) if vocabulary is None else {}
    for key, typed in checkpoint.carried.items():
        if key in END_KEYS and vocabulary is not None:  # vocabulary.end_ids
            continue
        if (key in in_keys or not is_owned(key)) and not is_said_otherwise(
            key, typed.value, vocabulary
        ):
            facts[key] = typed.value
    if not checkpoint.carried:
        for key, value in checkpoint.metadata.items():
            if key not in _SIZES and carried_from_config({key: value}):  # nor one of config.json
                facts[f"header:{key}"] = value
    return facts | _vocabulary_facts(vocabulary)


def _vocabulary_facts(vocabulary: Vocabulary | None) -> dict[str, object]:
    if vocabulary is None:
        return {}
    spelled = gguf_spelling(vocabulary)
    named = np.flatnonzero((vocabulary.kinds == CONTROL) | (vocabulary.kinds == UNKNOWN))
    prefix = vocabulary.add_space_prefix
    has_user_defined = prefix and bool((vocabulary.kinds == USER_DEFINED).any())
    values = {
        "model": vocabulary.model,
        "pieces": list(vocabulary.pieces),
        "names of special pieces": [spelled[token] for token in named.tolist()],
        "scores": vocabulary.scores,
        "kinds": vocabulary.kinds,
        "unk_id": vocabulary.unk_id,
        "bos_id": vocabulary.bos_id,
        "eos_id": vocabulary.eos_id,
        "end_ids": [*vocabulary.end_ids[:1], *sorted(vocabulary.end_ids[1:])],
        "add_bos": vocabulary.add_bos,
        "add_eos": vocabulary.add_eos,
        "add_space_prefix": vocabulary.add_space_prefix,
        "doubles_space": prefix and vocabulary.doubles_space,
        "prefixes_every_part": prefix and vocabulary.prefixes_every_part,
        "cuts_at_user_defined": has_user_defined and vocabulary.cuts_at_user_defined,
        "normalization": f"a table of {n:,} bytes" if (n := len(vocabulary.charsmap)) else "none",
        "removes_spaces": vocabulary.removes_spaces,
        "merges": list(vocabulary.merges),
        "pre_tokenizer": _pre_tokenizer(vocabulary),
    }
    return {f"vocabulary.{name}": value for name, value in values.items()}


def _pre_tokenizer(vocabulary: Vocabulary) -> str:
    """GGUF writes "default" where pieces with scores are cut by nothing."""
    return vocabulary.pre_tokenizer if vocabulary.model == "bpe" else ""


def lost_on_the_way(
    facts: Mapping[str, object], destination: Path, format_name: str, meant: Collection[str] = ()
) -> tuple[str, ...]:
    """A sentence for each fact of the source that the destination says differently, or not at all.

    Args:
        facts: of the source.
        destination: what was written.
        format_name: what users call its format.
        meant: keys that the user set or dropped.
    """
    checkpoint = _read_again(destination)
    vocabulary = checkpoint.vocabulary
    if destination.is_dir() and checkpoint.tokenizer_path is not None:
        with contextlib.suppress(FormatError, RequestError):  # a copy of what was not understood
            vocabulary = vocabulary_of(checkpoint)
    found = facts_of(checkpoint, vocabulary, lambda spec: _read(checkpoint, spec))
    intended = {*meant, *(_CHANGED_BY[key] for key in meant if key in _CHANGED_BY)}
    if "vocabulary.eos_id" in intended:
        intended.add("vocabulary.end_ids")
    return tuple(_sentences(facts, found, format_name, intended))


def _read_again(destination: Path) -> Checkpoint:
    """What was written; in a folder that holds other weights as well, ours."""
    if not destination.is_dir():
        return read_checkpoint(destination)
    files = OpenFiles()
    try:
        return read_huggingface(destination, files)
    finally:
        files.close()


def _read(checkpoint: Checkpoint, spec: TensorSpec) -> np.ndarray:
    """A copy of one small tensor."""
    with MappedFile(checkpoint.paths[spec.file]) as mapped:
        return mapped.view(spec).copy()


def _sentences(
    facts: Mapping[str, object], found: Mapping[str, object], where: str, intended: Collection[str]
) -> Iterable[str]:
    no_vocabulary = "vocabulary.pieces" in facts and "vocabulary.pieces" not in found
    if no_vocabulary:
        yield f"vocabulary: not carried by {where}; keep the tokenizer file"
    for name, value in facts.items():
        if name in intended or (no_vocabulary and name.startswith("vocabulary.")):
            continue
        if name not in found:
            yield f"{name}: {where} has no place for it"
        elif not _same(value, found[name]):
            yield f"{name}: {_change(value, found[name])} in {where}{_MEANS.get(name, '')}"


def _same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.shape != b.shape:
            return False
        if a.dtype.kind == "f" and a.dtype.itemsize == 8:  # RoPE's, once rounded to float32
            return bool(np.allclose(a, b, rtol=1e-6, atol=0))
        return bool(np.array_equal(a, b))
    if isinstance(a, float) or isinstance(b, float):
        return a == b or (a != a and b != b)
    if isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str | bytes):
        return list(a) == list(b)
    return type(a) is type(b) and bool(a == b)


def _change(before: object, after: object) -> str:
    """Both values, where they are short."""
    short = [_short(value) for value in (before, after)]
    if None in short:
        return "is not the same"
    return f"{short[0]} became {short[1]}"


def _short(value: object) -> str | None:
    if not isinstance(value, str | int | float | list | type(None)):
        return None
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else None
