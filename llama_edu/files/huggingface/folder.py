"""A folder as on the Hugging Face hub: config.json, and weights in one file or several.

Weights are whole tensors spread over files, .safetensors or pytorch_model*.bin, with an index that
says which tensor is in which file. Rows of wq and wk keep their order: `rope_pairing` is "halves".
The reference for what is left open is `from_pretrained` of transformers: a whole file wins over an
index. Shards whose index is missing are joined by their names, which transformers refuses to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError
from llama_edu.files.huggingface import safetensors
from llama_edu.files.huggingface.companions import (
    TOKENIZERS,
    carried_from_companions,
    carried_from_config,
    companions_of,
)
from llama_edu.files.huggingface.config_json import (
    assumed_of,
    config_from_json,
    config_to_json,
    dialect_of,
    window_of,
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
    TypedValue,
)
from llama_edu.files.mapped import OpenFiles
from llama_edu.files.output import atomic_outputs
from llama_edu.files.strict_json import read_object
from llama_edu.files.weights import check_tensors, with_our_names
from llama_edu.models.shard_names import shard_name
from llama_edu.text import one_line, quoted

#: (single file, index, one shard), in the order in which transformers looks for them.
_WEIGHT_FILES = (
    ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
)

#: The largest LLaMAs have fewer than 200 files.
MAX_FILES = 1000


def is_huggingface_folder(folder: Path) -> bool:
    """Whether a folder holds a config.json and weights that this reader supports."""
    return (folder / "config.json").is_file() and any(
        (folder / single).is_file() or (folder / index).is_file() or any(folder.glob(shard))
        for single, index, shard in _WEIGHT_FILES
    )


def read_huggingface(folder: Path, files: OpenFiles) -> Checkpoint:
    """The checkpoint in a Hugging Face folder; no weight is read.

    Raises:
        FormatError: config.json or a weight file is missing; a tensor is missing, stored twice or
            not in the file that the index names; or the model is not a LLaMA.
    """
    where = folder / "config.json"
    values = read_object(where, strict=False)
    config = config_from_json(values, where)
    tied = values.get("tie_word_embeddings") is True
    paths, placed = _weight_files(folder)
    stored = read_headers(paths, files)
    check_index(placed, stored.tensors, paths, stored.other_names)
    dialect = dialect_of(stored.tensors, folder)
    if dialect == "meta":
        config = replace(config, rope_pairing="interleaved")
    tensors, ignored = with_our_names(
        stored.tensors, dialect, folder, config=config, tied_output=tied
    )
    if not tied and "output" not in tensors:
        raise FormatError(
            f"{folder}: has no lm_head.weight, and config.json does not set tie_word_embeddings; "
            f"the model is incomplete"
        )
    check_tensors(tensors, config, folder)
    companions = companions_of(folder)
    kind = "safetensors" if paths[0].suffix == ".safetensors" else "pytorch_model.bin"
    n_files = f"{len(paths)} files" if len(paths) > 1 else "1 file"
    return Checkpoint(
        format=f"Hugging Face folder, {kind}, {n_files}",
        recognized_by=f"a folder with config.json and {paths[0].name}{_passed_over(folder)}",
        paths=tuple(paths),
        config=config,
        tensors=tensors,
        tokenizer_path=next((folder / n for n in TOKENIZERS if (folder / n).is_file()), None),
        sections=tuple(stored.sections),
        ignored=(*ignored, *stored.other_names),
        metadata={**values, **window_of(values)},
        carried={
            **carried_from_config(values),
            **carried_from_companions(companions),
            **stored.texts,
        },
        companions=companions,
        assumed=assumed_of(values),
    )


def _passed_over(folder: Path) -> str:
    """What else lies in the folder that could be taken for the model."""
    other = next(iter(sorted(folder.glob("consolidated*.safetensors"))), None)
    if other is None:
        return ""
    return f"; {one_line(other.name)} beside them, in Mistral's layout, is not read"


@dataclass
class Stored:
    """What all files of a folder hold together, by their own names.

    Attributes:
        other_names: of tensors whose types are not supported. texts: what tables say beside.
    """

    tensors: dict[str, TensorSpec] = field(default_factory=dict)
    other_names: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    texts: dict[str, TypedValue] = field(default_factory=dict)


def read_headers(paths: Sequence[Path], files: OpenFiles) -> Stored:
    """The headers of all files. FormatError if two files have the same tensor."""
    stored = Stored()
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
            stored.texts |= safetensors.carried_texts(header)
        stored.other_names += other_names
        for name, spec in found.items():
            if name in stored.tensors:
                first = paths[stored.tensors[name].file]
                raise FormatError(
                    f"{path}: has {one_line(name)}, which {first.name} also has; "
                    f"expected every tensor once"
                )
            stored.tensors[name] = spec
    return stored


def _weight_files(folder: Path) -> tuple[list[Path], dict[str, Path]]:
    """The files of weights in order, and where the index places each tensor."""
    for single_name, index_name, pattern in _WEIGHT_FILES:
        if (folder / single_name).is_file():
            return [folder / single_name], {}
        if (folder / index_name).is_file():
            return read_index(folder / index_name)
        shards = sorted(folder.glob(pattern))
        if shards:
            return complete_set(shards, index_name), {}
    raise FormatError(
        f"{folder}: has config.json and no weights, expected model.safetensors or "
        f"pytorch_model.bin; the download is incomplete"
    )


def complete_set(shards: Sequence[Path], index_name: str) -> list[Path]:
    """All shards of a model whose index is missing. FormatError where one of them is missing."""
    first = shards[0]
    named = shard_name(first.name)
    if named is None or not 0 < named.n_shards <= MAX_FILES:
        raise FormatError(
            f"{first}: expected a name that ends in -00001-of- and the number of files; "
            f"{index_name}, which could say it, is missing, download it too"
        )
    expected = [first.with_name(name) for name in named.all_names()]
    missing = next((path for path in expected if not path.is_file()), None)
    if missing is not None:
        raise FormatError(
            f"{missing}: is missing, one of {named.n_shards} files of a model by the name of "
            f"{first.name}; download it too"
        )
    other = next((path for path in shards if path not in expected), None)
    if other is not None:
        raise FormatError(
            f"{other}: is next to {first.name}, which belongs to another set of files, and "
            f"{index_name}, which says what belongs together, is missing; download it too"
        )
    return expected


def read_index(index: Path) -> tuple[list[Path], dict[str, Path]]:
    """The files that an index names, in order, and where it places each tensor.

    Raises:
        FormatError: the index is damaged, or a file that it names is missing.
    """
    weight_map = read_object(index, strict=False).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FormatError(f"{index}: has no weight_map, expected tensor names and their files")
    placed: dict[str, Path] = {}
    for tensor, name in weight_map.items():
        # a name from the index becomes a path only if it has no folder in it
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


def check_index(
    placed: Mapping[str, Path],
    stored: Mapping[str, TensorSpec],
    paths: Sequence[Path],
    other: Sequence[str],
) -> None:
    """Raise FormatError unless every tensor in the index is in the file that the index names."""
    of_other_types = set(other)
    for name, path in placed.items():
        if name in of_other_types:
            continue
        spec = stored.get(name)
        if spec is None or paths[spec.file] != path:
            raise FormatError(
                f"{path}: has no {one_line(name)}, which the index places there; the files "
                f"are not from one model"
            )


def write_huggingface(
    folder: Path,
    config: ModelConfig,
    tensors: Sequence[PlannedTensor],
    load: LoadTensor,
    files: Mapping[str, bytes] | None = None,
    extra: Mapping[str, object] | None = None,
    texts: Mapping[str, str] | None = None,
    check: Callable[[], object] | None = None,
) -> None:
    """Write a folder for the transformers library: config.json, model.safetensors, tokenizer.

    Args:
        folder: created if it does not exist; files of these names in it are replaced.
        config: the sizes.
        tensors: as for `write_safetensors`.
        load: as for `write_safetensors`.
        files: name -> bytes of more files, such as tokenizer.model.
        extra: more keys for config.json, such as bos_token_id.
        texts: as `metadata` of `write_safetensors`.
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
        raise FormatError(f"{folder}: cannot be created ({error.strerror})") from None
    n_bytes = sum(tensor.n_bytes for tensor in tensors)
    parts: dict[str, bytes] = dict(files or {})
    names = ["config.json", "model.safetensors", *parts]  # the first one first: see atomic_outputs
    with atomic_outputs([folder / name for name in names], n_bytes, check) as outputs:
        outputs[0].write((json.dumps(values, indent=2) + "\n").encode())
        write_safetensors(outputs[1], config, tensors, load, texts, extra)
        for output, data in zip(outputs[2:], parts.values(), strict=True):
            output.write(data)
