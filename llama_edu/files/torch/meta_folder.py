"""A folder as Meta distributed it: params.json, consolidated.00.pth, 01 ..., tokenizer.model.

Large models came in several shards, one for each GPU that was to run them. fairscale split every
matrix: those whose outputs are independent by rows, those whose outputs are summed by columns.

params.json of LLaMA 1 to Llama 3.2 does not say how long a context the model was trained on, nor by
how much its rotations are stretched; `generations` tells it from what the file does say. Mistral
hands out the same layout. Reference for what is not stated: ModelArgs in Meta's llama/model.py.
"""

from __future__ import annotations

import json
from pathlib import Path

from llama_edu.config import ModelConfig, RopeScaling, hidden_dim_by_rule
from llama_edu.errors import FormatError, ShapeError
from llama_edu.files.layout import Checkpoint, ShardedTensor, TensorSpec
from llama_edu.files.magic_numbers import META_SHARDS
from llama_edu.files.mapped import OpenFiles, open_weights
from llama_edu.files.parts.shards import check_shards_agree, sharded
from llama_edu.files.torch.generations import generation_of
from llama_edu.files.torch.pth import read_pth
from llama_edu.files.vocabularies.detect import find_tokenizer
from llama_edu.files.weights import check_tensors, with_our_names
from llama_edu.text import quoted

#: What Meta's code assumes where params.json says nothing.
_MULTIPLE_OF, _NORM_EPS, _ROPE_THETA = 256, 1e-5, 10000.0

#: The largest params.json that is read; it usually has about 100 bytes.
_LARGEST_PARAMS_BYTES = 2**16


def read_meta_folder(folder: Path, files: OpenFiles) -> Checkpoint:
    """The checkpoint in a folder of Meta's layout, with one shard or several.

    Raises:
        FormatError: params.json is missing or contradicts the tensors, a shard is missing, or the
            shards disagree with each other.
    """
    params = read_params(folder / "params.json")
    paths = _shard_paths(folder)
    shards: list[dict[str, TensorSpec]] = []
    ignored: dict[str, None] = {}
    for index, path in enumerate(paths):
        contents = read_pth(files.open(path), index)
        shard, not_needed = with_our_names(contents.tensors, "meta", path)
        shards.append(shard)
        ignored |= dict.fromkeys(not_needed)
    check_shards_agree(shards, paths)
    config, assumed = config_of_params(params, shards, folder)
    tensors: dict[str, TensorSpec | ShardedTensor] = {**shards[0]}
    if len(shards) > 1:
        of_all = {name: [shard[name] for shard in shards] for name in shards[0]}
        tensors = {name: sharded(specs, config.vocab_size) for name, specs in of_all.items()}
    check_tensors(tensors, config, folder)
    return Checkpoint(
        format=f"Meta .pth, {_counted(len(paths))}",
        recognized_by="a folder with params.json and consolidated.00.pth",
        paths=tuple(paths),
        config=config,
        tensors=tensors,
        tokenizer_path=find_tokenizer(folder),
        ignored=tuple(ignored),
        metadata=params,
        assumed=assumed,
    )


def _counted(n_shards: int) -> str:
    return f"{n_shards} shard{'s' if n_shards > 1 else ''}"


def read_params(path: Path) -> dict[str, object]:
    """What a params.json states.

    Raises:
        FormatError: it is missing or no JSON object, or says that the model is of another kind.
    """
    if not path.exists():
        raise FormatError(
            f"{path}: is missing; the sizes of the model are in it, copy it next to the weights"
        )
    try:
        with open_weights(path) as file:
            text = file.read(_LARGEST_PARAMS_BYTES + 1)
        if len(text) > _LARGEST_PARAMS_BYTES:
            raise ValueError(f"it has more than {_LARGEST_PARAMS_BYTES:,} bytes")
        params = json.loads(text.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: is not readable JSON ({error})") from None
    if not isinstance(params, dict):
        raise FormatError(f"{path}: holds no object, expected the sizes of a model")
    if params.get("yarn"):
        raise FormatError(
            f"{path}: states yarn, expected a plain LLaMA; this kind of model is not supported"
        )
    if params.get("moe"):
        raise FormatError(
            f"{path}: states moe, expected a plain LLaMA; a mixture of experts can be read from "
            f"GGUF and from a Hugging Face folder, take the model in one of these"
        )
    return params


def _shard_paths(folder: Path) -> list[Path]:
    found = sorted(folder.glob(META_SHARDS))
    for index, path in enumerate(found):
        expected = f"consolidated.{index:02d}.pth"
        if path.name != expected:
            raise FormatError(f"{folder / expected}: is missing, but {path.name} is there")
    if not found:
        raise FormatError(f"{folder}: has no consolidated.00.pth; it is not a Meta checkpoint")
    return found


class _Params:
    """What params.json states, and which sizes were assumed because it does not."""

    def __init__(self, stated: dict, where: Path) -> None:
        self.stated, self.where = stated, where
        self.assumed: dict[str, str] = {}

    def size(self, key: str, default: int | None = None) -> int:
        value = self.stated.get(key)
        if value is None and default is not None:
            return default
        if type(value) is not int or abs(value) >= 2**31:
            raise FormatError(
                f"{self.where}: {key} is {quoted(value, 40)}, expected a whole number"
            )
        return value

    def number(self, key: str, field: str, default: float) -> float:
        value = self.stated.get(key)
        if value is None:
            self.assumed[field] = f"params.json does not state {key}; the default of Meta's code"
            return default
        return value


def config_of_params(
    params: dict, shards: list[dict[str, TensorSpec]], folder: Path
) -> tuple[ModelConfig, dict[str, str]]:
    """Sizes from params.json, each compared with what the tensors say, and which were assumed."""
    where = folder / "params.json"
    _check_dimensions(shards[0], folder)
    p = _Params(params, where)
    dim, n_heads, n_layers = p.size("dim"), p.size("n_heads"), p.size("n_layers")
    vocab_size = _vocab_size(shards, dim, folder)
    stated_vocab = p.size("vocab_size", -1)
    if stated_vocab > 0 and stated_vocab != vocab_size:
        raise FormatError(
            f"{where}: vocab_size is {stated_vocab}, the tensors have {vocab_size} pieces"
        )
    try:
        config = ModelConfig(
            dim=dim,
            hidden_dim=_hidden_dim(p, dim),
            n_layers=n_layers,
            n_heads=n_heads,
            n_kv_heads=p.size("n_kv_heads", n_heads),
            vocab_size=vocab_size,
            max_seq_len=_context(p),
            norm_eps=p.number("norm_eps", "norm_eps", _NORM_EPS),
            rope_theta=p.number("rope_theta", "rope_theta", _ROPE_THETA),
            head_dim=p.size("head_dim", 0),
            rope_scaling=_rope_scaling(p),
        )
    except (ShapeError, TypeError, ValueError, OverflowError) as error:  # NaN, 10**400, "1e-5"
        raise FormatError(f"{where}: {error}") from None
    return config, p.assumed


def _hidden_dim(p: _Params, dim: int) -> int:
    """The stated width, else that of Meta's rule."""
    multiplier = p.stated.get("ffn_dim_multiplier")
    if multiplier is not None and not isinstance(multiplier, int | float):
        raise FormatError(
            f"{p.where}: ffn_dim_multiplier is {quoted(multiplier, 40)}, expected a number"
        )
    multiple_of = p.size("multiple_of", _MULTIPLE_OF)
    if p.stated.get("multiple_of") is None and p.stated.get("hidden_dim") is None:
        p.assumed["hidden_dim"] = (
            f"by Meta's rule with multiple_of {_MULTIPLE_OF}, its default; the tensors agree"
        )
    return p.size("hidden_dim", 0) or hidden_dim_by_rule(dim, multiple_of, multiplier)


def _context(p: _Params) -> int:
    """The stated number of positions, else that of the model's generation."""
    known = generation_of(p.stated)
    key = next((k for k in ("max_seq_len", "max_position_embeddings") if k in p.stated), "")
    context = p.size(key, known.context)
    if not key or (known.has_window and context > known.context):
        p.assumed["max_seq_len"] = f"params.json does not state it; {known.why}"
        return known.context
    return context


def _rope_scaling(p: _Params) -> RopeScaling | None:
    """Llama 3.1's rule where params.json says that it scales; the factor is often left out."""
    if not p.stated.get("use_scaled_rope"):
        return None
    known = generation_of(p.stated)
    factor = p.number("rope_scaling_factor", "rope_scaling", known.rope_factor)
    p.assumed["rope_scaling"] = (
        f"params.json states only that it scales; Llama 3.1's rule, {known.name}'s factor"
        if "rope_scaling" in p.assumed
        else "params.json states only the factor; Llama 3.1's rule"
    )
    return RopeScaling("llama3", factor * 1.0) if factor != 1 else None


def _check_dimensions(shard: dict[str, TensorSpec], folder: Path) -> None:
    """Raise FormatError unless the tensors that give sizes exist and all have 1 or 2 axes."""
    for name in ("token_embedding", "layers.0.w_gate", "layers.0.wk"):
        if name not in shard or len(shard[name].shape) != 2:
            raise FormatError(f"{folder}: has no matrix {name}; the checkpoint is incomplete")
    for name, spec in shard.items():
        if len(spec.shape) not in (1, 2):
            raise FormatError(
                f"{folder}: {name} has shape {spec.shape}, expected a matrix or a vector; it is "
                f"another kind of model"
            )


def _vocab_size(shards: list[dict[str, TensorSpec]], dim: int, folder: Path) -> int:
    """How many pieces the tensors have. FormatError if the last shards are missing."""
    first, n_shards = shards[0], len(shards)
    rows, columns = first["token_embedding"].shape
    if "output" in first and n_shards > 1:
        vocab_size = first["output"].shape[0] * n_shards
    else:
        vocab_size = rows
    is_cut_by_columns = rows == vocab_size
    if is_cut_by_columns and columns and dim > columns * n_shards and dim % columns == 0:
        raise FormatError(
            f"{folder}: {_counted(n_shards)} found, expected {dim // columns}: one shard has "
            f"{columns} of {dim} columns of the embedding; consolidated.{n_shards:02d}.pth is "
            f"missing"
        )
    return vocab_size
