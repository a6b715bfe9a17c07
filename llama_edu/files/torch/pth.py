"""PyTorch checkpoints without PyTorch: a zip whose records are mapped in place.

A .pth file (torch 1.6 and later) is an uncompressed zip. `data.pkl` lists the tensors; each
`data/N` record holds the numbers of one storage, at a known offset, so a tensor can be viewed in
place as in any other format. zip_records.py finds the records, unpickler.py reads the pickle.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llama_edu.errors import FormatError, LlamaEduError
from llama_edu.files.layout import TensorSpec
from llama_edu.files.magic_numbers import TORCH_LEGACY
from llama_edu.files.mapped import MappedFile
from llama_edu.files.torch.unpickler import (
    NUMBER_TYPES,
    AllowListUnpickler,
    StoredTensor,
    run,
)
from llama_edu.files.torch.zip_records import bytes_at, records_of
from llama_edu.text import one_line

#: Pickles of real checkpoints are below 1 MB; longer ones are not read.
_LARGEST_PICKLE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class PthContents:
    """What a .pth file holds.

    Attributes:
        tensors: stored name -> spec, from the weight dict, which may be inside another dict.
        other_names: tensors of whole numbers or bools, which no LLaMA needs.
        settings: plain values stored next to the weight dict, as "model_args" or "config".
        pickle_range: offset and size of the pickle that describes all this.
    """

    tensors: dict[str, TensorSpec]
    other_names: tuple[str, ...]
    settings: dict[str, object]
    pickle_range: tuple[int, int]


def read_pth(mapped: MappedFile, file: int = 0) -> PthContents:
    """Where every tensor of a .pth file is, by its stored name.

    Args:
        mapped: the open file.
        file: becomes `TensorSpec.file`.
    Raises:
        FormatError: not a torch file, compressed, truncated, or a pickle outside the allow-list.
    """
    is_legacy = mapped.data[: len(TORCH_LEGACY)] == TORCH_LEGACY
    return (_read_legacy if is_legacy else _read_zip)(mapped, file)


def _read_zip(mapped: MappedFile, file: int) -> PthContents:
    """Torch 1.6 and later: a pickle, and each storage in a record of its own."""
    path = mapped.path
    try:
        records = records_of(mapped)
        order = records.get("byteorder")
        if order is not None and bytes_at(mapped, order[0], min(order[1], 8)) != b"little":
            raise FormatError(f"{path}: numbers are big-endian, expected little-endian")
        pickle_range = records["data.pkl"]
        if pickle_range[1] > _LARGEST_PICKLE_BYTES:
            raise FormatError(f"{path}: data.pkl has {pickle_range[1]:,} bytes, too many")
        program = bytes_at(mapped, *pickle_range)
    except LlamaEduError:
        raise
    except Exception as error:  # zipfile raises many kinds of errors for a hostile directory
        raise FormatError(
            f"{path}: its zip directory cannot be read ({error}); the file is truncated or "
            f"damaged, download it again"
        ) from None
    contents = run(AllowListUnpickler(io.BytesIO(program), path), path)
    storages = {
        name.removeprefix("data/"): place
        for name, place in records.items()
        if name.startswith("data/")
    }
    return _collect(contents, storages, pickle_range, path, file)


def _read_legacy(mapped: MappedFile, file: int) -> PthContents:
    """Before torch 1.6: five pickles in a row, then each storage's count and numbers."""
    path = mapped.path
    head = io.BytesIO(bytes_at(mapped, 0, _LARGEST_PICKLE_BYTES))
    for _ in range(3):  # a magic number, the version, facts about the writer's machine
        run(AllowListUnpickler(head, path), path)
    start = head.tell()
    unpickler = AllowListUnpickler(head, path)
    contents = run(unpickler, path)
    pickle_range = (start, head.tell() - start)
    keys = run(AllowListUnpickler(head, path), path)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise FormatError(f"{path}: its list of storages is not a list of names")
    storages = _legacy_storages(mapped, keys, unpickler.number_types, head.tell())
    return _collect(contents, storages, pickle_range, path, file)


def _legacy_storages(
    mapped: MappedFile, keys: list[str], number_types: Mapping[str, str], offset: int
) -> dict[str, tuple[int, int]]:
    """Where the numbers of each storage are; each run of numbers follows its count."""
    path, storages = mapped.path, {}
    for key in keys:
        if key not in number_types:
            raise FormatError(f"{path}: the type of storage {one_line(key)} is not stated")
        item_bytes = NUMBER_TYPES[number_types[key]][1]
        count = bytes_at(mapped, offset, 8)
        n_elements = int.from_bytes(count, "little", signed=True)
        n_bytes = n_elements * item_bytes
        if len(count) < 8 or n_elements < 0 or offset + 8 + n_bytes > mapped.n_bytes:
            raise FormatError(
                f"{path}: storage {one_line(key)} at byte {offset:,} extends beyond the "
                f"file's {mapped.n_bytes:,} bytes; it is truncated or damaged"
            )
        storages[key] = (offset + 8, n_bytes)
        offset += 8 + n_bytes
    return storages


def _tensors_in(contents: object) -> dict[str, StoredTensor]:
    """The dict of weights, which a training run may put inside "model" or "state_dict"."""
    if not isinstance(contents, dict):
        return {}
    wrapped = (contents.get(key) for key in ("model", "state_dict"))
    weights = next((value for value in wrapped if isinstance(value, dict)), contents)
    return {
        name.removeprefix("_orig_mod."): value
        for name, value in weights.items()
        if isinstance(name, str) and isinstance(value, StoredTensor)
    }


def _settings_in(contents: object) -> dict[str, object]:
    """Plain numbers and texts that a training run saved next to its weights."""
    for key in ("model_args", "config"):
        values = contents.get(key) if isinstance(contents, dict) else None
        if isinstance(values, dict):
            plain = (int, float, str, bool, type(None))
            return {
                key: value
                for key, value in values.items()
                if isinstance(key, str) and isinstance(value, plain)
            }
    return {}


def _collect(
    contents: object,
    storages: Mapping[str, tuple[int, int]],
    pickle_range: tuple[int, int],
    path: Path,
    file: int,
) -> PthContents:
    """Turn the pickle's tensors into specs, each checked against the record that holds it."""
    tensors, other_names = {}, []
    for name, tensor in _tensors_in(contents).items():
        type_name, item_bytes = NUMBER_TYPES[tensor.number_type]
        if type_name is None:
            other_names.append(name)
            continue
        where = f"{path}: {one_line(name)}"
        offset, n_bytes = _bytes_of(tensor, item_bytes, storages, where)
        contiguous = tensor.strides == _c_strides(tensor.shape) or math.prod(tensor.shape) <= 1
        tensors[name] = TensorSpec(
            name=name,
            type=type_name,
            shape=tensor.shape,
            offset=offset,
            n_bytes=n_bytes,
            file=file,
            stored_name=name,
            strides=None if contiguous else tuple(item_bytes * n for n in tensor.strides),
        )
    if not tensors:
        raise FormatError(f"{path}: holds no tensors, expected a dict of names and tensors")
    return PthContents(tensors, tuple(other_names), _settings_in(contents), pickle_range)


def _bytes_of(
    tensor: StoredTensor, item_bytes: int, storages: Mapping[str, tuple[int, int]], where: str
) -> tuple[int, int]:
    """First byte of a tensor in the file, and bytes from its first to its last number.

    Raises FormatError if its storage is missing or too short, or if numbers share a place.
    """
    if tensor.storage.key not in storages:
        raise FormatError(
            f"{where} is in storage {one_line(tensor.storage.key)}, which the file does not "
            f"have; it is damaged"
        )
    start, storage_bytes = storages[tensor.storage.key]
    first = (tensor.storage.first + tensor.offset) * item_bytes
    extent = 0
    if 0 not in tensor.shape:
        pairs = zip(tensor.shape, tensor.strides, strict=True)
        extent = item_bytes * (1 + sum((n - 1) * stride for n, stride in pairs))
    if first + extent > storage_bytes:
        raise FormatError(
            f"{where} needs {first + extent:,} bytes of its storage, which has {storage_bytes:,}; "
            f"the file is damaged"
        )
    if math.prod(tensor.shape) * item_bytes > extent:
        raise FormatError(
            f"{where} of shape {tensor.shape} repeats its {extent:,} bytes, expected one place for "
            f"each number; save it with .contiguous()"
        )
    return start + first, extent


def _c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
