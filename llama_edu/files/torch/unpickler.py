"""Reading the pickle of a PyTorch checkpoint without running it.

A pickle is a program: it can import any function by name and call it. This unpickler has a list of
exactly the names that describe tensors, returns small records in their place, and refuses every
other name before anything is called. It is based on the unpickler that is written in Python, which
uses memory only for what the pickle holds.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from llama_edu.errors import FormatError, LlamaEduError
from llama_edu.text import one_line

_MOST_DIMENSIONS = 8

#: Steps that a pickle may execute, each of which can use 100 bytes of memory. A tensor takes 32
#: steps, so the largest LLaMA takes 40,000, and with its optimizer's state four times as many.
#: What a call is handed beyond _FREE_ITEMS counts as steps too, one for each item: one long list
#: can be handed on again and again, for two steps each.
_MOST_STEPS = 200_000
_FREE_ITEMS = 32

#: Whole numbers that may be keys, of a dict or of the memo: from 0 to below this. Larger ones could
#: be chosen so that all have one hash.
_KEY_LIMIT = 2**20

#: Storage class or dtype name -> (our type or None, bytes per number).
NUMBER_TYPES: dict[str, tuple[str | None, int]] = {
    "FloatStorage": ("f32", 4), "HalfStorage": ("f16", 2), "BFloat16Storage": ("bf16", 2),
    "DoubleStorage": ("f64", 8), "IntStorage": (None, 4), "LongStorage": (None, 8),
    "ShortStorage": (None, 2), "CharStorage": (None, 1), "ByteStorage": (None, 1),
    "BoolStorage": (None, 1),
    "float32": ("f32", 4), "float16": ("f16", 2), "bfloat16": ("bf16", 2), "float64": ("f64", 8),
    "int32": (None, 4), "int64": (None, 8), "int16": (None, 2), "int8": (None, 1),
    "uint8": (None, 1), "bool": (None, 1),
}  # fmt: skip


@dataclass(frozen=True)
class NumberType:
    """Stands for torch.HalfStorage, torch.float16 and similar names."""

    name: str


@dataclass(frozen=True)
class StoredStorage:
    """A run of numbers in the file, given by the key of its record, from element `first` on."""

    number_type: str
    key: str
    n_elements: int
    first: int = 0


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the pickle describes it; offset and strides count elements."""

    storage: StoredStorage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    number_type: str


def _is_size(value: object) -> bool:
    """Whether a value from a pickle, possibly a number of a million digits, can be a byte count."""
    return type(value) is int and 0 <= value < 2**63


def _rebuild_tensor(storage, offset, shape, strides, *_) -> StoredTensor:
    if not (
        isinstance(storage, StoredStorage)
        and isinstance(shape, tuple)
        and isinstance(strides, tuple)
        and len(shape) == len(strides) <= _MOST_DIMENSIONS
        and all(_is_size(n) for n in (offset, *shape, *strides))
    ):
        raise ValueError("a tensor record with impossible sizes")
    return StoredTensor(storage, offset, shape, strides, storage.number_type)


def _rebuild_tensor_v3(storage, offset, shape, strides, _grad, _hooks, dtype, *_) -> StoredTensor:
    tensor = _rebuild_tensor(storage, offset, shape, strides)
    if not isinstance(dtype, NumberType):
        raise ValueError("a tensor record without a number type")
    return StoredTensor(tensor.storage, offset, shape, strides, dtype.name)


def _rebuild_parameter(data, *_):
    return data


def _check_key(key: object) -> None:
    """Raise ValueError unless hashing the key, and finding it among others, is cheap.

    Hashing nested tuples that share their parts can take forever or overflow the C stack.
    """
    if not isinstance(key, str | int):
        raise ValueError("a dict with a key that is neither a string nor a whole number")
    if isinstance(key, int) and not 0 <= key < _KEY_LIMIT:
        raise ValueError(f"a dict with a number as a key that is not from 0 to {_KEY_LIMIT - 1:,}")


def _ordered_dict(pairs=()) -> OrderedDict:
    if not isinstance(pairs, list | tuple):
        raise ValueError("a dict made from something else than a list of pairs")
    for key, _ in pairs:
        _check_key(key)
    return OrderedDict(pairs)


#: Every name that a pickle may import, and what it gets: descriptions, never torch objects.
_ALLOWED: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "UntypedStorage"): NumberType("uint8"),
    **{("torch", name): NumberType(name) for name in NUMBER_TYPES},
}


#: What the unpickler that is written in Python does for each opcode.
_OPCODES: dict = pickle._Unpickler.dispatch  # type: ignore[attr-defined, assignment]


class _Opcodes(dict):
    """What to do for each opcode, with a limit on the number of look-ups."""

    def __init__(self, table: dict) -> None:
        super().__init__(table)
        self._left = _MOST_STEPS

    def __getitem__(self, opcode: int):
        self.spend(1)
        return super().__getitem__(opcode)

    def spend(self, n_steps: int) -> None:
        """Raise ValueError where fewer steps are left."""
        self._left -= n_steps
        if self._left < 0:
            raise ValueError(f"it takes more than {_MOST_STEPS:,} steps")


class _Memo(dict):
    """What a pickle may name again, by small numbers."""

    def __setitem__(self, number: int, value: object) -> None:
        if not 0 <= number < _KEY_LIMIT:
            raise ValueError(f"a number of the memo that is not from 0 to {_KEY_LIMIT - 1:,}")
        super().__setitem__(number, value)


class AllowListUnpickler(pickle._Unpickler):
    """An unpickler that creates descriptions of tensors and refuses every other name."""

    dispatch: ClassVar[dict] = dict(_OPCODES)
    stack: list  # of the base class, which fills it

    def __init__(self, file: io.BytesIO, where: object) -> None:
        super().__init__(file, encoding="utf-8")
        self._opcodes = _Opcodes(self.dispatch)
        self.dispatch = self._opcodes  # type: ignore[misc]
        self.memo = _Memo()
        self._where = where
        self.number_types: dict[str, str] = {}  # storage key -> number type, for every storage seen

    def find_class(self, module: str, name: str) -> object:
        """The description for an allowed name; FormatError for any other."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise FormatError(
                f"{self._where}: its pickle asks for {one_line(f'{module}.{name}')}, expected only "
                f"names that describe tensors; it may run code, so it was refused and none of "
                f"it was run"
            ) from None

    def persistent_load(self, pid) -> StoredStorage:
        """The storage that ("storage", class, key, location, n_elements[, view]) names."""
        if not isinstance(pid, tuple) or not 5 <= len(pid) <= 6:
            raise ValueError("a storage record of an unknown form")
        kind, number_type, key, _, n_elements, *view = pid
        if not (
            kind == "storage"
            and isinstance(number_type, NumberType)
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
        return StoredStorage(number_type.name, key, n_elements, first)

    def _call(self, function, args) -> object:
        """What an allowed name gives for these arguments, whose number counts as steps."""
        if not isinstance(args, list | tuple):
            raise ValueError("a call whose arguments are no tuple")
        n_items = len(args) + sum(len(arg) for arg in args if isinstance(arg, list | tuple | dict))
        self._opcodes.spend(max(0, n_items - _FREE_ITEMS))
        return function(*args)

    def _load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], args)

    def _instantiate(self, function, args) -> None:  # for the opcodes INST and OBJ
        self.append(self._call(function, args))  # type: ignore[attr-defined]

    def _load_build(self) -> None:
        # state is allowed only on a dict (Hugging Face's _metadata), and dropped
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

    dispatch[pickle.REDUCE[0]] = _load_reduce
    dispatch[pickle.BUILD[0]] = _load_build
    dispatch[pickle.SETITEM[0]] = _load_setitem
    dispatch[pickle.SETITEMS[0]] = _load_setitems
    dispatch[pickle.DICT[0]] = _load_dict
    for _opcode in (
        pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET,  # hash their items, see _check_key
        pickle.BYTEARRAY8,  # would allocate as much memory as it states
    ):  # fmt: skip
        del dispatch[_opcode[0]]


def run(unpickler: AllowListUnpickler, path: Path):
    """Load one pickle; any exception from a damaged one becomes a FormatError."""
    try:
        return unpickler.load()
    except LlamaEduError:
        raise
    except Exception as error:
        raise FormatError(
            f"{path}: its pickle is damaged ({type(error).__name__}: {one_line(str(error))})"
        ) from None
