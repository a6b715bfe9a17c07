"""What the rest of the program knows of a weight file: TensorSpec and Checkpoint.

A reader of any format turns a header into these records and does nothing else. No weight is read
here, and nothing here depends on the format.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from llama_edu.config import ModelConfig, output_name
from llama_edu.errors import FormatError, ShapeError
from llama_edu.html import facts_html
from llama_edu.quants.blocks import BLOCK_TYPES
from llama_edu.vocabulary import Vocabulary


@dataclass(frozen=True)
class TensorSpec:
    """Where one tensor is: everything that is needed to create a view of it, and no data.

    Attributes:
        name: our name, for example "layers.3.wq".
        type: the stored number type, a key of `quants.blocks.BLOCK_TYPES`, for example "f16".
        shape: (out_features, in_features) or (features,), outermost axis first as in numpy.
        offset: first byte, counted from the start of the file.
        n_bytes: bytes from the first to the last stored number; with strides, other tensors' may
            lie between them.
        file: index into `Checkpoint.paths`.
        stored_name: the name in the file; "" if the file stores no names.
        big_endian: whether numbers of several bytes are stored most significant byte first.
        strides: bytes from one index to the next along each axis of `stored_shape`; None for C
            order, which nearly all files have.
        transposed: whether the matrix is stored as (in_features, out_features), so that blocks run
            along the first axis of `shape`.
        group_size: numbers that share a scale, if all numbers come first and all scales, as
            float32, after them (llama2.c version 2); else 0.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    n_bytes: int
    file: int = 0
    stored_name: str = ""
    big_endian: bool = False
    strides: tuple[int, ...] | None = None
    group_size: int = 0
    transposed: bool = False

    @property
    def n_elements(self) -> int:
        """How many numbers the tensor has."""
        return math.prod(self.shape)

    @property
    def end(self) -> int:
        """First byte after the tensor."""
        return self.offset + self.n_bytes

    @property
    def dtype(self) -> np.dtype:
        """The numpy dtype of one stored block (one number, for the plain types)."""
        dtype = BLOCK_TYPES[self.type].dtype
        return dtype.newbyteorder(">") if self.big_endian else dtype

    @property
    def block_size(self) -> int:
        """Numbers per stored block; 1 for the plain types."""
        return BLOCK_TYPES[self.type].block_size

    @property
    def own_bytes(self) -> int:
        """Bytes of its own numbers: fewer than n_bytes where others lie between them."""
        if self.strides is None:
            return self.n_bytes
        return math.prod(self.stored_shape) * self.dtype.itemsize

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape in the file, in blocks: the last axis is divided by the block size."""
        shape = self.shape[::-1] if self.transposed else self.shape
        return (*shape[:-1], shape[-1] // self.block_size) if self.block_size > 1 else shape

    def __repr__(self) -> str:
        return (
            f"TensorSpec({self.name!r}, {self.type}, {self.shape}, bytes {self.offset:,} to "
            f"{self.end:,} of file {self.file})"
        )

    def _repr_html_(self) -> str:
        facts: dict[str, object] = {
            "type": self.type,
            "shape": " x ".join(map(str, self.shape)),
            "first byte": self.offset,
            "bytes": self.n_bytes,
            "file": self.file,
        }
        if self.stored_name:
            facts["name in the file"] = self.stored_name
        return facts_html(f"TensorSpec: {self.name}", facts)


@dataclass(frozen=True)
class ShardedTensor:
    """One tensor that was split across several files, as fairscale did for several GPUs.

    `axis` is the axis that was split (0 rows, 1 columns), or None if every shard is a full copy
    (the norms). There is no view of the whole: joining it needs a copy.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    axis: int | None
    shards: tuple[TensorSpec, ...]

    @property
    def n_bytes(self) -> int:
        """Bytes of the joined tensor."""
        return self.shards[0].n_bytes if self.axis is None else sum(s.n_bytes for s in self.shards)

    @property
    def own_bytes(self) -> int:
        """The same: nothing lies between a shard's numbers."""
        return self.n_bytes

    @property
    def n_elements(self) -> int:
        """How many numbers the joined tensor has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class PlannedTensor:
    """One tensor that a writer is about to write: its name, type and shape, but not its place.

    `transposed` is that of TensorSpec: the data is (in_features, out_features / block_size) then.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    transposed: bool = False

    @property
    def written_shape(self) -> tuple[int, ...]:
        """The shape in the file, in numbers."""
        return self.shape[::-1] if self.transposed else self.shape

    @property
    def n_bytes(self) -> int:
        """Bytes that the data will take, without padding."""
        return n_bytes_for(self.type, self.written_shape, self.name)


#: Returns the data of a planned tensor as stored: an array of the type's dtype, C order.
LoadTensor = Callable[[PlannedTensor], np.ndarray]

#: How the three matrices of a feed-forward block lie in the file: "rows", as in every format of
#: others; "down-transposed", w_down as one row per hidden neuron; or "side-by-side", where a
#: neuron's row of w_gate, its row of w_up and its column of w_down follow each other.
LayoutName = Literal["rows", "down-transposed", "side-by-side"]
LAYOUTS: tuple[LayoutName, ...] = get_args(LayoutName)


#: The largest number of layers that is accepted: the nine records of a layer take far more memory
#: than its headers take bytes on disk. The deepest LLaMA, 405B, has 126.
MOST_LAYERS = 1024


@dataclass(frozen=True)
class Section:
    """A named run of bytes of a file, for `inspect`: header, vocabulary, tensors, padding."""

    name: str
    offset: int
    n_bytes: int


@dataclass(frozen=True)
class TypedValue:
    """Something that a checkpoint says beside its sizes: a value and its type.

    `type` is GGUF's word ("u32", "string", "array of f32"), or "json" for a value of a JSON file.
    """

    type: str
    value: object


@dataclass(frozen=True)
class Checkpoint:
    """One model on disk, possibly in several files: sizes, vocabulary and where each tensor is.

    Attributes:
        format: name and version, for example "ggjt v1".
        recognized_by: the bytes or names by which the format was told.
        paths: the files; `TensorSpec.file` counts into them.
        tensors: our name -> TensorSpec, or ShardedTensor where a tensor is cut over several files.
        vocabulary: what the file itself carries, or None.
        tokenizer_path: a tokenizer file found beside the weights, or None.
        sections: header, vocabulary ...: the bytes that are not tensors, as far as known.
        ignored: names of tensors that the file has and no LLaMA needs (rope.freqs, biases of 0).
        metadata: what else the header says, shown by `inspect`, never evaluated.
        carried: what describes the model, typed, for conversion: by GGUF's key, or as
            "config.json:KEY" where GGUF has no key for it.
        companions: files beside the weights that say how the model is used.
        assumed: field of `config` -> why it has this value, where the file does not state it.
        layout: how the feed-forward matrices lie.
        vocabulary_problem: why the file's own vocabulary cannot be used; "" where it can, or where
            the file has none.
    """

    format: str
    recognized_by: str
    paths: tuple[Path, ...]
    config: ModelConfig
    tensors: Mapping[str, TensorSpec | ShardedTensor]
    vocabulary: Vocabulary | None = None
    tokenizer_path: Path | None = None
    sections: tuple[Section, ...] = ()
    ignored: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    carried: Mapping[str, TypedValue] = field(default_factory=dict)
    companions: tuple[Path, ...] = ()
    assumed: Mapping[str, str] = field(default_factory=dict)
    vocabulary_problem: str = ""
    layout: LayoutName = "rows"

    @property
    def is_sharded(self) -> bool:
        """Whether the tensors are split across several files and must be joined in memory."""
        return any(isinstance(t, ShardedTensor) for t in self.tensors.values())

    @property
    def tied_output(self) -> bool:
        """Whether the output matrix is the token embedding itself."""
        return output_name(self.tensors) != "output"

    @property
    def n_parameters(self) -> int:
        """Numbers in all weights; a tied output counts once."""
        return sum(t.n_elements for t in self.tensors.values())

    @property
    def n_active_parameters(self) -> int:
        """Numbers that compute one token: without the experts that its routers do not choose.

        As is the custom, the embedding counts whole, although a token needs only its own row.
        """
        in_experts = sum(t.n_elements for n, t in self.tensors.items() if ".experts." in n)
        unused = self.config.n_experts - self.config.n_experts_per_token
        return self.n_parameters - (in_experts * unused // (self.config.n_experts or 1))

    @property
    def n_bytes(self) -> int:
        """Bytes of all weights, joined; a tied output counts once."""
        return sum(t.own_bytes for t in self.tensors.values())

    def __repr__(self) -> str:
        files = f" in {len(self.paths)} files" if len(self.paths) > 1 else ""
        return (
            f"Checkpoint({self.paths[0].name!r}{files}, {self.format}, {len(self.tensors):,} "
            f"tensors, {self.n_bytes:,} bytes)"
        )

    def _repr_html_(self) -> str:
        own = f"{len(self.vocabulary):,} pieces in the file" if self.vocabulary else "none"
        return facts_html(
            f"Checkpoint: {self.paths[0].name}",
            {
                "format": self.format,
                "recognized by": self.recognized_by,
                "files": len(self.paths),
                "tensors": len(self.tensors),
                "bytes of weights": self.n_bytes,
                "vocabulary": self.tokenizer_path.name if self.tokenizer_path else own,
            },
        )


def n_bytes_for(type_name: str, shape: Sequence[int], where: str) -> int:
    """Bytes that a contiguous tensor of this type and shape takes.

    Raises FormatError, beginning with `where`, if a row is not a whole number of blocks.
    """
    block = BLOCK_TYPES[type_name]
    if block.block_size > 1 and (not shape or shape[-1] % block.block_size):
        raise FormatError(
            f"{where}: rows of {shape[-1] if shape else 0} numbers, expected a multiple of "
            f"{block.block_size}, the block size of {type_name}; the file is damaged"
        )
    return math.prod(shape) // block.block_size * block.dtype.itemsize


def as_planned(array: np.ndarray, tensor: PlannedTensor) -> memoryview:
    """The bytes of a loaded array, in place if contiguous; ShapeError if not as planned."""
    block = BLOCK_TYPES[tensor.type]
    *outer, last = tensor.written_shape
    shape = (*outer, last // block.block_size)
    if array.dtype != block.dtype or array.shape != shape:
        raise ShapeError(
            f"{tensor.name}: loaded {array.dtype} {array.shape}, expected {block.dtype} {shape} "
            f"for {tensor.type}"
        )
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
