"""A folder as the Hugging Face hub hands it out: config.json, weights in one file or several.

Weights are whole tensors spread over files, .safetensors or pytorch_model*.bin, with an index that
says which tensor is in which file. Rows of wq and wk keep their order: `rope_pairing` is "halves".
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError
from llama_edu.files.huggingface import safetensors
from llama_edu.files.huggingface.config_json import (
    config_from_json,
    config_to_json,
    dialect_of,
)
from llama_edu.files.huggingface.safetensors_writer import (
    TORCH_DTYPES,
    main_type,
    write_safetensors,
)
from llama_edu.files.layout import (
    Checkpoint,
    LoadTensor,
    PlannedTensor,
    Section,
    TensorSpec,
)
from llama_edu.files.mapped import OpenFiles
from llama_edu.files.output import atomic_outputs
from llama_edu.files.strict_json import read_object
from llama_edu.files.weights import check_tensors, with_our_names
from llama_edu.text import one_line, quoted

#: (index, single file), in the order in which transformers looks for them.
_WEIGHT_FILES = (
    ("model.safetensors.index.json", "model.safetensors"),
    ("pytorch_model.bin.index.json", "pytorch_model.bin"),
)

#: Tokenizers, the preferred first.
_TOKENIZERS = ("tokenizer.model", "tokenizer.json")

#: The largest LLaMAs come in fewer than 200 files.
MAX_FILES = 1000


def is_huggingface_folder(folder: Path) -> bool:
    """Whether a folder holds a config.json and weights that this reader knows."""
    return (folder / "config.json").is_file() and any(
        (folder / name).is_file() for names in _WEIGHT_FILES for name in names
    )


def read_huggingface(folder: Path, files: OpenFiles) -> Checkpoint:
    """The checkpoint in a Hugging Face folder; no weight is read.

    Raises:
        FormatError: config.json or a file of weights is missing, a tensor is missing, twice or not
            where the index says, or the model is not a LLaMA.
    """
    where = folder / "config.json"
    values = read_object(where)
    config = config_from_json(values, where)
    tied = values.get("tie_word_embeddings") is True
    paths, placed = _weight_files(folder)
    stored = _read_headers(paths, files)
    _check_index(placed, stored.tensors, paths, stored.other_names)
    dialect = dialect_of(stored.tensors, folder)
    if dialect == "meta":
        config = replace(config, rope_pairing="interleaved")
    tensors, ignored = with_our_names(stored.tensors, dialect, folder, tied_output=tied)
    if not tied and "output" not in tensors:
        raise FormatError(
            f"{folder}: has no lm_head.weight, and config.json does not say tie_word_embeddings; "
            f"the model is incomplete"
        )
    check_tensors(tensors, config, folder)
    kind = "safetensors" if paths[0].suffix == ".safetensors" else "pytorch_model.bin"
    n_files = f"{len(paths)} files" if len(paths) > 1 else "1 file"
    return Checkpoint(
        format=f"Hugging Face folder, {kind}, {n_files}",
        recognized_by=f"a folder with config.json and {paths[0].name}",
        paths=tuple(paths),
        config=config,
        tensors=tensors,
        tokenizer_path=next((folder / n for n in _TOKENIZERS if (folder / n).is_file()), None),
        sections=tuple(stored.sections),
        ignored=(*ignored, *stored.other_names),
        metadata=values,
    )


@dataclass
class _Stored:
    """What the files of a folder hold together, by the names they give it."""

    tensors: dict[str, TensorSpec] = field(default_factory=dict)
    other_names: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)


def _read_headers(paths: Sequence[Path], files: OpenFiles) -> _Stored:
    """The headers of all files. FormatError where two files have one tensor."""
    stored = _Stored()
    for i, path in enumerate(paths):
        mapped = files.open(path)
        if path.suffix == ".bin":
            from llama_edu.files.torch.pth import read_pth  # safetensors needs no unpickler

            contents = read_pth(mapped, i)
            found, other_names = contents.tensors, contents.other_names
        else:
            header = safetensors.read_header(mapped, i)
            safetensors.refuse_uncomputable(header, path)
            found, other_names = header.tensors, header.other
            name = "header" + (f" (file {i + 1})" if i else "")
            stored.sections.append(Section(name, 0, header.data_offset))
        stored.other_names += other_names
        for name, spec in found.items():
            if name in stored.tensors:
                first = paths[stored.tensors[name].file]
                raise FormatError(
                    f"{path}: has {one_line(name)}, which {first.name} has as well; "
                    f"expected every tensor once"
                )
            stored.tensors[name] = spec
    return stored


def _weight_files(folder: Path) -> tuple[list[Path], dict[str, Path]]:
    """The files of weights in order, and where the index places each tensor."""
    for index_name, single_name in _WEIGHT_FILES:
        index = folder / index_name
        if index.is_file():
            return _read_index(index)
        if (folder / single_name).is_file():
            return [folder / single_name], {}
    raise FormatError(
        f"{folder}: has config.json and no weights, expected model.safetensors or "
        f"pytorch_model.bin; the download is incomplete"
    )


def _read_index(index: Path) -> tuple[list[Path], dict[str, Path]]:
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FormatError(f"{index}: has no weight_map, expected tensor names and their files")
    placed: dict[str, Path] = {}
    for tensor, name in weight_map.items():
        # a name from a file becomes a path only when it is nothing but a name
        is_plain = isinstance(name, str) and Path(name).name == name and "\\" not in name
        if not is_plain or "\0" in name or not name.endswith((".safetensors", ".bin")):
            raise FormatError(
                f"{index}: places {one_line(tensor)} in {quoted(str(name))}, expected the "
                f"name of a .safetensors or .bin file in the same folder; the file is damaged"
            )
        placed[tensor] = index.parent / name
    paths = sorted(set(placed.values()))
    if len(paths) > MAX_FILES:
        raise FormatError(
            f"{index}: names {len(paths):,} files, expected at most {MAX_FILES:,}; it is damaged"
        )
    for path in paths:
        if not path.is_file():
            raise FormatError(f"{path}: is missing, {index.name} names it; download it too")
    return paths, placed


def _check_index(
    placed: Mapping[str, Path],
    stored: Mapping[str, TensorSpec],
    paths: Sequence[Path],
    other: Sequence[str],
) -> None:
    """Raise FormatError unless every tensor of the index is in the file that the index says."""
    of_other_types = set(other)
    for name, path in placed.items():
        if name in of_other_types:
            continue
        spec = stored.get(name)
        if spec is None or paths[spec.file] != path:
            raise FormatError(
                f"{path}: has no {one_line(name)}, which the index places there; the files "
                f"are not of one model"
            )


def write_huggingface(
    folder: Path,
    config: ModelConfig,
    tensors: Sequence[PlannedTensor],
    load: LoadTensor,
    tokenizer_path: Path | None = None,
    extra: Mapping[str, object] | None = None,
    check: Callable[[], object] | None = None,
) -> None:
    """Make a folder that transformers opens: config.json, model.safetensors and the tokenizer.

    Args:
        folder: made where it does not exist; files of these names in it are replaced.
        config: the sizes.
        tensors: as for `write_safetensors`.
        load: as for `write_safetensors`.
        tokenizer_path: a tokenizer.model or tokenizer.json to copy.
        extra: more keys for config.json, such as bos_token_id.
        check: called before the first file is replaced.
    Raises:
        FormatError: the folder cannot be written.
        RequestError: a type that safetensors cannot express.
    """
    tied = all(tensor.name != "output" for tensor in tensors)
    dtype = TORCH_DTYPES[main_type(tensors)]
    values = {**(extra or {}), **config_to_json(config, tied_output=tied, dtype=dtype)}
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise FormatError(f"{folder}: cannot be made ({error.strerror})") from None
    n_bytes = sum(tensor.n_bytes for tensor in tensors)
    names = ["config.json", "model.safetensors"]  # the first one first: see atomic_outputs
    if tokenizer_path is not None:
        names.append("tokenizer.json" if tokenizer_path.suffix == ".json" else "tokenizer.model")
    with atomic_outputs([folder / name for name in names], n_bytes, check) as files:
        files[0].write((json.dumps(values, indent=2) + "\n").encode())
        write_safetensors(files[1], config, tensors, load)
        if tokenizer_path is not None:
            with tokenizer_path.open("rb") as source:
                shutil.copyfileobj(source, files[2])
