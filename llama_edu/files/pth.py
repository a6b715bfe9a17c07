"""PyTorch checkpoints without PyTorch: a zip whose records are mapped in place.

A .pth file (torch 1.6 and later) is an uncompressed zip. `data.pkl` says which tensors there are;
each `data/N` record holds the numbers of one storage, at a known offset, so a tensor can be viewed
in the file like in any other. A pickle is a program: this reader runs it with an allow-list of
exactly the names that describe tensors and refuses every other by name, before anything of it runs.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from llama_edu.errors import FormatError, LlamaEduError
from llama_edu.files.layout import TensorSpec
from llama_edu.files.mapped import open_weights

#: Pickles of real checkpoints are below 1 MB; a header this long is not one.
_LARGEST_PICKLE_BYTES = 64 * 2**20
_MOST_DIMENSIONS = 8

#: Storage class or dtype name -> (our type or None, bytes per number).
_NUMBER_TYPES: dict[str, tuple[str | None, int]] = {
    "FloatStorage": ("f32", 4), "HalfStorage": ("f16", 2), "BFloat16Storage": ("bf16", 2),
    "DoubleStorage": ("f64", 8), "IntStorage": (None, 4), "LongStorage": (None, 8),
    "ShortStorage": (None, 2), "CharStorage": (None, 1), "ByteStorage": (None, 1),
    "BoolStorage": (None, 1),
    "float32": ("f32", 4), "float16": ("f16", 2), "bfloat16": ("bf16", 2), "float64": ("f64", 8),
    "int32": (None, 4), "int64": (None, 8), "int16": (None, 2), "int8": (None, 1),
    "uint8": (None, 1), "bool": (None, 1),
}  # fmt: skip

#: First bytes of a file written by torch before 1.6.
LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")


@dataclass(frozen=True)
class PthContents:
    """What a .pth file holds.

    Attributes:
        tensors: stored name -> spec, of the weight dict, which may be wrapped in another dict.
        other_names: tensors of whole numbers, which no LLaMA needs.
        settings: plain values that lie beside a wrapped weight dict as "model_args" or "config".
        pickle_range: offset and size of the pickle that says all this.
    """

    tensors: dict[str, TensorSpec]
    other_names: tuple[str, ...]
    settings: dict[str, object]
    pickle_range: tuple[int, int]


@dataclass(frozen=True)
class _NumberType:
    """Stands for torch.HalfStorage, torch.float16 and their like."""

    name: str


@dataclass(frozen=True)
class _Storage:
    number_type: str
    key: str
    n_elements: int
    first: int = 0


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    number_type: str


def _is_size(value: object) -> bool:
    """Whether a number from a pickle, where it may have a million digits, can count bytes."""
    return type(value) is int and 0 <= value < 2**63


def _rebuild_tensor(storage, offset, shape, strides, *_) -> _Tensor:
    if not (
        isinstance(storage, _Storage)
        and isinstance(shape, tuple)
        and isinstance(strides, tuple)
        and len(shape) == len(strides) <= _MOST_DIMENSIONS
        and all(_is_size(n) for n in (offset, *shape, *strides))
    ):
        raise ValueError("a tensor record with impossible sizes")
    return _Tensor(storage, offset, shape, strides, storage.number_type)


def _rebuild_tensor_v3(storage, offset, shape, strides, _grad, _hooks, dtype, *_) -> _Tensor:
    tensor = _rebuild_tensor(storage, offset, shape, strides)
    if not isinstance(dtype, _NumberType):
        raise ValueError("a tensor record without a number type")
    return _Tensor(tensor.storage, offset, shape, strides, dtype.name)


def _rebuild_parameter(data, *_):
    return data


def _check_key(key: object) -> None:
    """Raise ValueError unless hashing the key is cheap.

    The hash of nested tuples that share their parts can take for ever, or all of the C stack.
    """
    if not isinstance(key, str | int):
        raise ValueError("a dict with a key that is neither text nor a number")


def _ordered_dict(pairs=()) -> OrderedDict:
    for key, _ in pairs:
        _check_key(key)
    return OrderedDict(pairs)


#: Every name a pickle may ask for, and what it gets: descriptions, never torch.
_ALLOWED: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "UntypedStorage"): _NumberType("uint8"),
    **{("torch", name): _NumberType(name) for name in _NUMBER_TYPES},
}


#: What Python's own unpickler, written in Python, does for each opcode.
_OPCODES: dict = pickle._Unpickler.dispatch  # type: ignore[attr-defined, assignment]


class _AllowListUnpickler(pickle._Unpickler):
    """Python's own unpickler in Python, which takes memory only for what the pickle holds."""

    dispatch: ClassVar[dict] = dict(_OPCODES)
    stack: list  # of the base class, which fills it

    def __init__(self, file: io.BytesIO, where: object) -> None:
        super().__init__(file, encoding="utf-8")
        self._where = where
        self.number_types: dict[str, str] = {}  # of every storage that was named, by its key

    def find_class(self, module: str, name: str) -> object:
        """The description for an allowed name; FormatError for any other."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise FormatError(
                f"{self._where}: its pickle asks for {_shown(f'{module}.{name}')}, expected only "
                f"names that describe tensors; it may run code, so it was refused and nothing of "
                f"it was run"
            ) from None

    def persistent_load(self, pid) -> _Storage:
        """The storage that ("storage", class, key, location, n_elements[, view]) names."""
        kind, number_type, key, _, n_elements, *view = pid
        if not (
            kind == "storage"
            and isinstance(number_type, _NumberType)
            and isinstance(key, str)
            and _is_size(n_elements)
        ):
            raise ValueError("a storage record of an unknown form")
        first = 0
        if view and view[0] is not None:
            _, first, _ = view[0]
            if not _is_size(first):
                raise ValueError("a storage view with an impossible offset")
        self.number_types[key] = number_type.name
        return _Storage(number_type.name, key, n_elements, first)

    def _load_build(self) -> None:
        # state may only decorate a dict (Hugging Face's _metadata); it is dropped
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise ValueError("an object with state that is not a dict of tensors")

    def _load_setitem(self) -> None:
        _check_key(self.stack[-2])
        _OPCODES[pickle.SETITEM[0]](self)

    def _load_setitems(self) -> None:
        for key in self.stack[::2]:
            _check_key(key)
        _OPCODES[pickle.SETITEMS[0]](self)

    def _load_dict(self) -> None:
        for key in self.stack[::2]:
            _check_key(key)
        _OPCODES[pickle.DICT[0]](self)

    dispatch[pickle.BUILD[0]] = _load_build
    dispatch[pickle.SETITEM[0]] = _load_setitem
    dispatch[pickle.SETITEMS[0]] = _load_setitems
    dispatch[pickle.DICT[0]] = _load_dict
    for _opcode in (
        pickle.ADDITEMS, pickle.FROZENSET,  # would hash their items, see _check_key
        pickle.BYTEARRAY8,  # would take as much memory as it asks for
    ):  # fmt: skip
        del dispatch[_opcode[0]]


def read_pth(path: Path) -> PthContents:
    """Where every tensor of a .pth file lies, by its stored name.

    Raises:
        FormatError: not a torch file, compressed, truncated, or a pickle outside the allow-list.
    """
    with open_weights(path) as file:
        start = file.read(len(LEGACY_MAGIC))
    return _read_legacy(path) if start == LEGACY_MAGIC else _read_zip(path)


def _read_zip(path: Path) -> PthContents:
    """Torch 1.6 and later: find the records through the central directory."""
    file_bytes = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive, open_weights(path) as file:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            if len(set(names)) != len(names):
                raise FormatError(f"{path}: two records of the zip have one name; it is damaged")
            pickles = [n for n in names if n == "data.pkl" or n.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise FormatError(
                    f"{path}: a zip with {len(pickles)} data.pkl records, expected one; this is "
                    f"not a PyTorch checkpoint"
                )
            top = pickles[0].removesuffix("data.pkl")
            records = {
                info.filename.removeprefix(top): _record_range(file, info, path, file_bytes)
                for info in infos
                if info.filename.startswith(top)
            }
            order = records.get("byteorder")
            if order is not None and _bytes_at(file, *order)[:8] != b"little":
                raise FormatError(f"{path}: numbers are big-endian, expected little-endian")
            pickle_range = records["data.pkl"]
            if pickle_range[1] > _LARGEST_PICKLE_BYTES:
                raise FormatError(f"{path}: data.pkl has {pickle_range[1]:,} bytes, too many")
            program = _bytes_at(file, *pickle_range)
    except LlamaEduError:
        raise
    except Exception as error:  # zipfile meets a hostile directory with errors of many kinds
        raise FormatError(
            f"{path}: its zip directory cannot be read ({error}); the file is truncated or "
            f"damaged, download it again"
        ) from None
    contents = _run(_AllowListUnpickler(io.BytesIO(program), path), path)
    storages = {
        name.removeprefix("data/"): place
        for name, place in records.items()
        if name.startswith("data/")
    }
    return _collect(contents, storages, pickle_range, path)


def _record_range(file, info: zipfile.ZipInfo, path: Path, file_bytes: int) -> tuple[int, int]:
    """First byte and size of a record's data; only the local header says how long it is itself."""
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise FormatError(
            f"{path}: record {_shown(info.filename)} is compressed and cannot be mapped; save "
            f"it with torch.save"
        )
    header = _bytes_at(file, info.header_offset, 30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise FormatError(f"{path}: the zip has no record at byte {info.header_offset:,}")
    name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
    start = info.header_offset + 30 + name_bytes + extra_bytes
    if start + info.file_size > file_bytes:
        raise FormatError(
            f"{path}: record {_shown(info.filename)} ends at byte "
            f"{start + info.file_size:,}, the file has {file_bytes:,}; it is truncated"
        )
    return start, info.file_size


def _read_legacy(path: Path) -> PthContents:
    """Before torch 1.6: five pickles in a row, then each storage's count and numbers."""
    file_bytes = path.stat().st_size
    with open_weights(path) as file:
        head = io.BytesIO(file.read(_LARGEST_PICKLE_BYTES))
        for _ in range(3):  # a magic number, the version, facts about the writer's machine
            _run(_AllowListUnpickler(head, path), path)
        start = head.tell()
        unpickler = _AllowListUnpickler(head, path)
        contents = _run(unpickler, path)
        pickle_range = (start, head.tell() - start)
        keys = _run(_AllowListUnpickler(head, path), path)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise FormatError(f"{path}: its list of storages is not a list of names")
        storages, offset = {}, head.tell()
        for key in keys:
            if key not in unpickler.number_types:
                raise FormatError(f"{path}: nothing says of what type storage {_shown(key)} is")
            item_bytes = _NUMBER_TYPES[unpickler.number_types[key]][1]
            count = _bytes_at(file, offset, 8)
            n_elements = int.from_bytes(count, "little", signed=True)
            n_bytes = n_elements * item_bytes
            if len(count) < 8 or n_elements < 0 or offset + 8 + n_bytes > file_bytes:
                raise FormatError(
                    f"{path}: storage {_shown(key)} at byte {offset:,} reaches beyond the "
                    f"file's {file_bytes:,} bytes; it is truncated or damaged"
                )
            storages[key] = (offset + 8, n_bytes)
            offset += 8 + n_bytes
    return _collect(contents, storages, pickle_range, path)


def _bytes_at(file, offset: int, n_bytes: int) -> bytes:
    file.seek(offset)
    return file.read(n_bytes)


def _run(unpickler: _AllowListUnpickler, path: Path):
    """Load one pickle; whatever a damaged one throws becomes a FormatError."""
    try:
        return unpickler.load()
    except LlamaEduError:
        raise
    except Exception as error:
        raise FormatError(
            f"{path}: its pickle is damaged ({type(error).__name__}: {_shown(str(error))})"
        ) from None


def _tensors_in(contents: object) -> dict[str, _Tensor]:
    """The dict of weights, also inside {"model": ...} or {"state_dict": ...} of a training run."""
    if not isinstance(contents, dict):
        return {}
    for wrapper in ("model", "state_dict"):
        if isinstance(contents.get(wrapper), dict):
            contents = contents[wrapper]
            break
    return {
        name.removeprefix("_orig_mod."): value
        for name, value in contents.items()
        if isinstance(name, str) and isinstance(value, _Tensor)
    }


def _settings_in(contents: object) -> dict[str, object]:
    """Plain numbers and words that a training run saved beside its weights."""
    for key in ("model_args", "config"):
        values = contents.get(key) if isinstance(contents, dict) else None
        if isinstance(values, dict):
            plain = (int, float, str, bool, type(None))
            return {str(k): v for k, v in values.items() if isinstance(v, plain)}
    return {}


def _collect(
    contents: object,
    storages: dict[str, tuple[int, int]],
    pickle_range: tuple[int, int],
    path: Path,
) -> PthContents:
    """Turn the pickle's tensors into specs, each checked against the record it lies in."""
    tensors, other_names = {}, []
    for name, tensor in _tensors_in(contents).items():
        shown = _shown(name)
        type_name, item_bytes = _NUMBER_TYPES[tensor.number_type]
        if type_name is None:
            other_names.append(name)
            continue
        if tensor.storage.key not in storages:
            raise FormatError(
                f"{path}: {shown} lies in storage {_shown(tensor.storage.key)}, which the "
                f"file does not have; it is damaged"
            )
        start, storage_bytes = storages[tensor.storage.key]
        first = (tensor.storage.first + tensor.offset) * item_bytes
        extent = 0
        if 0 not in tensor.shape:
            pairs = zip(tensor.shape, tensor.strides, strict=True)
            extent = item_bytes * (1 + sum((n - 1) * stride for n, stride in pairs))
        if first + extent > storage_bytes:
            raise FormatError(
                f"{path}: {shown} needs {first + extent:,} bytes of its storage, which has "
                f"{storage_bytes:,}; the file is damaged"
            )
        if math.prod(tensor.shape) * item_bytes > extent:
            raise FormatError(
                f"{path}: {shown} of shape {tensor.shape} repeats its {extent:,} bytes, expected "
                f"one place for each number; save it with .contiguous()"
            )
        contiguous = tensor.strides == _c_strides(tensor.shape) or math.prod(tensor.shape) <= 1
        tensors[name] = TensorSpec(
            name=name,
            type=type_name,
            shape=tensor.shape,
            offset=start + first,
            n_bytes=extent,
            stored_name=name,
            strides=None if contiguous else tensor.strides,
        )
    if not tensors:
        raise FormatError(f"{path}: holds no tensors, expected a dict of names and tensors")
    return PthContents(tensors, tuple(other_names), _settings_in(contents), pickle_range)


def _shown(name: str) -> str:
    """A name from the file with its control characters escaped, and cut."""
    return ascii(name)[1:-1][:80]


def _c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
