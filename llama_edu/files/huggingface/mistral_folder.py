"""A folder as Mistral hands out its models: params.json, consolidated.safetensors, a tokenizer.

Sizes and names are those of Meta's layout, and so is the order of the rows of wq and wk. Tensors
are whole, in one file or several, consolidated-00001-of-00002.safetensors. What params.json leaves
out is told as for Meta's folders. The tokenizer is a sentencepiece model, which may be called
tokenizer.model.v3, or tekken.json, which is not read.
"""

from __future__ import annotations

from pathlib import Path

from llama_edu.files.huggingface.folder import (
    check_index,
    complete_set,
    read_headers,
    read_index,
)
from llama_edu.files.layout import Checkpoint
from llama_edu.files.mapped import OpenFiles
from llama_edu.files.torch.meta_folder import config_of_params, read_params
from llama_edu.files.vocabularies.detect import find_tokenizer
from llama_edu.files.weights import check_tensors, with_our_names

_SINGLE = "consolidated.safetensors"
_INDEX = "consolidated.safetensors.index.json"
_SHARDS = "consolidated-*-of-*.safetensors"


def is_mistral_folder(folder: Path) -> bool:
    """Whether a folder holds weights under Mistral's names; their sizes may still be missing."""
    return any((folder / name).is_file() for name in (_SINGLE, _INDEX)) or any(folder.glob(_SHARDS))


def read_mistral_folder(folder: Path, files: OpenFiles) -> Checkpoint:
    """The checkpoint in a folder of Mistral's layout; no weight is read.

    Raises:
        FormatError: params.json is missing or contradicts the tensors, a file or a tensor is
            missing, or two files have the same tensor.
    """
    params = read_params(folder / "params.json")
    paths, placed = _weight_paths(folder)
    stored = read_headers(paths, files)
    check_index(placed, stored.tensors, paths, stored.other_names)
    tied = params.get("tied_embeddings") is True
    tensors, ignored = with_our_names(stored.tensors, "meta", folder, tied_output=tied)
    config, assumed = config_of_params(params, [tensors], folder)
    check_tensors(tensors, config, folder)
    tokenizer = _tokenizer(folder)
    n_files = f"{len(paths)} files" if len(paths) > 1 else "1 file"
    return Checkpoint(
        format=f"Mistral's layout, safetensors, {n_files}",
        recognized_by=f"a folder with params.json and {paths[0].name}",
        paths=tuple(paths),
        config=config,
        tensors=tensors,
        tokenizer_path=tokenizer,
        sections=tuple(stored.sections),
        ignored=(*ignored, *stored.other_names),
        metadata=params,
        assumed=assumed,
        vocabulary_problem="" if tokenizer is not None else _why_no_text(folder),
    )


def _weight_paths(folder: Path) -> tuple[list[Path], dict[str, Path]]:
    """The files of weights in order, and where an index places each tensor."""
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE], {}
    if (folder / _INDEX).is_file():
        return read_index(folder / _INDEX)
    return complete_set(sorted(folder.glob(_SHARDS)), _INDEX), {}


def _tokenizer(folder: Path) -> Path | None:
    """tokenizer.model, or the newest of those whose names end in a version."""
    versions = sorted(folder.glob("tokenizer.model.v*"))
    return versions[-1] if versions else find_tokenizer(folder)


def _why_no_text(folder: Path) -> str:
    """Why there is no tokenizer although a file of one is there; "" where there is none."""
    if not (folder / "tekken.json").is_file():
        return ""
    return (
        f"{folder / 'tekken.json'}: is a tokenizer of Mistral's own kind, which is not read; give "
        f"the model's tokenizer.json with --tokenizer FILE"
    )
