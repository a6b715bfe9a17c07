"""A folder as Meta handed it out: params.json, consolidated.00.pth, 01 ..., tokenizer.model.

Large models came in several parts, one for each GPU that was to run them. fairscale cut every
matrix: those whose outputs are independent by rows, those whose outputs are summed by columns.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from llama_edu.config import ModelConfig, RopeScaling, hidden_dim_by_rule
from llama_edu.errors import FormatError, ShapeError
from llama_edu.files.layout import Checkpoint, SplitTensor, TensorSpec, check_tensors
from llama_edu.files.names import to_ours
from llama_edu.files.shards import split_axis
from llama_edu.files.torch.pth import read_pth
from llama_edu.files.vocabularies.detect import find_tokenizer
from llama_edu.text import one_line

#: The context of LLaMA 1; params.json does not say it.
DEFAULT_MAX_SEQ_LEN = 2048

#: Of params.json that are read at all; it has about 100.
_LARGEST_PARAMS_BYTES = 2**16

_PART_NAME = re.compile(r"consolidated\.(\d\d)\.pth")


def is_meta_folder(folder: Path) -> bool:
    """Whether a folder holds parts of a checkpoint in Meta's layout."""
    return any(_PART_NAME.fullmatch(path.name) for path in folder.glob("consolidated.*.pth"))


def read_meta_folder(folder: Path) -> Checkpoint:
    """The checkpoint in a folder of Meta's layout, with one part or several.

    Raises:
        FormatError: params.json is missing or contradicts the tensors, a part is missing, or the
            parts disagree with each other.
    """
    params = _read_params(folder / "params.json")
    paths = _part_paths(folder)
    parts: list[dict[str, TensorSpec]] = []
    ignored: dict[str, None] = {}
    for index, path in enumerate(paths):
        part: dict[str, TensorSpec] = {}
        contents = read_pth(path)
        for stored_name, spec in contents.tensors.items():
            name = to_ours(stored_name, "meta")
            if name is None:
                _refuse_unless_harmless(stored_name, path)
                ignored[stored_name] = None
            else:
                part[name] = TensorSpec(
                    name, spec.type, spec.shape, spec.offset, spec.n_bytes, index,
                    spec.stored_name, strides=spec.strides,
                )  # fmt: skip
        parts.append(part)
    _check_parts_agree(parts, paths)
    config = _config(params, parts, folder)
    tensors = {
        name: spec if len(parts) == 1 else _join(name, [part[name] for part in parts], config)
        for name, spec in parts[0].items()
    }
    check_tensors(tensors, config, folder)
    return Checkpoint(
        format=f"Meta .pth, {len(paths)} part{'s' if len(paths) > 1 else ''}",
        recognized_by="a folder with params.json and consolidated.00.pth",
        paths=tuple(paths),
        config=config,
        tensors=tensors,
        tokenizer_path=find_tokenizer(folder),
        ignored=tuple(ignored),
        metadata=params,
    )


def _read_params(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_PARAMS_BYTES + 1)
        if len(text) > _LARGEST_PARAMS_BYTES:
            raise ValueError(f"it has more than {_LARGEST_PARAMS_BYTES:,} bytes")
        params = json.loads(text.decode())
    except FileNotFoundError:
        raise FormatError(
            f"{path}: is missing; the sizes of the model are in it, copy it beside the .pth files"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: is not readable JSON ({error})") from None
    if not isinstance(params, dict):
        raise FormatError(f"{path}: holds no object, expected the sizes of a model")
    return params


def _part_paths(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.glob("consolidated.*.pth") if _PART_NAME.fullmatch(p.name))
    for index, path in enumerate(found):
        expected = f"consolidated.{index:02d}.pth"
        if path.name != expected:
            raise FormatError(f"{folder / expected}: is missing, but {path.name} is there")
    if not found:
        raise FormatError(f"{folder}: has no consolidated.00.pth; it is not a Meta checkpoint")
    return found


def _refuse_unless_harmless(stored_name: str, path: Path) -> None:
    if not stored_name.endswith("freqs"):  # RoPE's frequencies, which follow from rope_theta
        raise FormatError(
            f"{path}: has a tensor {one_line(stored_name)}, which no LLaMA has; this is "
            f"another kind of model"
        )


def _check_parts_agree(parts: list[dict[str, TensorSpec]], paths: list[Path]) -> None:
    for path, part in zip(paths[1:], parts[1:], strict=True):
        for name, first in parts[0].items():
            other = part.get(name)
            if other is None:
                raise FormatError(f"{path}: has no {name}, which {paths[0].name} has")
            if (other.type, other.shape) != (first.type, first.shape):
                raise FormatError(
                    f"{path}: {name} is {other.type} {other.shape}, in {paths[0].name} it is "
                    f"{first.type} {first.shape}; these parts are not of one model"
                )
        if len(part) != len(parts[0]):
            extra = next(name for name in part if name not in parts[0])
            raise FormatError(f"{path}: has {extra}, which {paths[0].name} has not")


def _config(params: dict, parts: list[dict[str, TensorSpec]], folder: Path) -> ModelConfig:
    """Sizes from params.json, each compared with what the tensors say."""
    where = folder / "params.json"
    first, n_parts = parts[0], len(parts)
    for name in ("token_embedding", "layers.0.w_gate", "layers.0.wk"):
        if name not in first or len(first[name].shape) != 2:
            raise FormatError(f"{folder}: has no matrix {name}; the checkpoint is incomplete")
    for name, spec in first.items():
        if len(spec.shape) not in (1, 2):
            raise FormatError(
                f"{folder}: {name} has shape {spec.shape}, expected a matrix or a vector; it is "
                f"another kind of model"
            )

    def size(key: str, default: int | None = None) -> int:
        value = params.get(key, default)
        if type(value) is not int or abs(value) >= 2**31:
            raise FormatError(f"{where}: {key} is {repr(value)[:40]}, expected a whole number")
        return value

    dim, n_heads, n_layers = size("dim"), size("n_heads"), size("n_layers")
    multiplier = params.get("ffn_dim_multiplier")
    if multiplier is not None and not isinstance(multiplier, int | float):
        raise FormatError(
            f"{where}: ffn_dim_multiplier is {repr(multiplier)[:40]}, expected a number"
        )
    rows, columns = first["token_embedding"].shape
    if "output" in first and n_parts > 1:
        vocab_size = first["output"].shape[0] * n_parts
    else:
        vocab_size = rows
    by_columns = rows == vocab_size
    if by_columns and columns and dim > columns * n_parts and dim % columns == 0:
        raise FormatError(
            f"{folder}: {n_parts} part{'s' if n_parts > 1 else ''} found, expected "
            f"{dim // columns}: one part has {columns} of {dim} columns of the embedding; "
            f"consolidated.{n_parts:02d}.pth is missing"
        )
    stated_vocab = size("vocab_size", -1)
    if stated_vocab > 0 and stated_vocab != vocab_size:
        raise FormatError(
            f"{where}: vocab_size is {stated_vocab}, the tensors have {vocab_size} pieces"
        )
    try:
        return ModelConfig(
            dim=dim,
            hidden_dim=hidden_dim_by_rule(dim, size("multiple_of"), multiplier),
            n_layers=n_layers,
            n_heads=n_heads,
            n_kv_heads=size("n_kv_heads", n_heads),
            vocab_size=vocab_size,
            max_seq_len=size("max_seq_len", DEFAULT_MAX_SEQ_LEN),
            norm_eps=params.get("norm_eps", 1e-6),
            rope_theta=params.get("rope_theta", 10000.0),
            # Llama 3.1 says only that it scales; the numbers are constants in Meta's code
            rope_scaling=RopeScaling("llama3", 8.0) if params.get("use_scaled_rope") else None,
        )
    except (ShapeError, TypeError, ValueError, OverflowError) as error:  # NaN, 10**400, "1e-5"
        raise FormatError(f"{where}: {error}") from None


def _join(name: str, pieces: list[TensorSpec], config: ModelConfig) -> SplitTensor:
    """Describe how the parts' pieces of one tensor lie in the whole."""
    first = pieces[0]
    if len(first.shape) == 1:
        return SplitTensor(name, first.type, first.shape, None, tuple(pieces))
    rows, columns = first.shape
    axis = split_axis(name)
    if name == "token_embedding" and rows != config.vocab_size:
        axis = 0
    shape = (rows * len(pieces), columns) if axis == 0 else (rows, columns * len(pieces))
    return SplitTensor(name, first.type, shape, axis, tuple(pieces))
