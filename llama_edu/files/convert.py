"""Any readable checkpoint into one file that can be mapped, tensor by tensor.

At no time is more than one tensor in memory. The destination appears when it is complete.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files import ggml_write
from llama_edu.files.blocks import BLOCK_TYPES, dequantize
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.join import join_rows
from llama_edu.files.layout import (
    Checkpoint, PlannedTensor, SplitTensor, TensorSpec, Vocabulary,
)  # fmt: skip
from llama_edu.files.mapped import MappedFile
from llama_edu.files.output import atomic_output
from llama_edu.files.vocabularies import read_vocabulary

TARGETS = tuple(ggml_write.TARGETS)
TYPES = ("keep", "f32", "f16")

#: Rows are converted in pieces of about this many float32 bytes.
_CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Conversion:
    """What a conversion did."""

    source: str
    destination: Path
    format: str
    types: dict[str, int]
    n_tensors: int
    n_bytes: int
    joined_bytes: int
    elapsed_s: float

    def __str__(self) -> str:
        types = ", ".join(f"{count} {name}" for name, count in self.types.items())
        joined = f", {self.joined_bytes:,} of them joined from parts" if self.joined_bytes else ""
        return (
            f"{self.destination}: {self.format}, {self.n_tensors} tensors ({types}), "
            f"{self.n_bytes:,} bytes{joined}, {self.elapsed_s:.2f} s"
        )


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    to: str = "ggjt-v1",
    type: str = "keep",
    tokenizer: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write a checkpoint as another format.

    Args:
        source: a weight file or a folder. destination: the file to write.
        to: one of TARGETS. type: one of TYPES, for matrices; vectors are always f32.
        tokenizer: a vocabulary file, where the source has none.
        progress: called with (bytes written, bytes in all) after each tensor.
    Raises:
        FormatError: the source cannot be read, or the target cannot express it.
    """
    start = time.perf_counter()
    if to not in TARGETS:
        raise FormatError(f"cannot write {to!r}, expected one of {', '.join(TARGETS)}")
    if type not in TYPES:
        raise FormatError(f"cannot write type {type!r}, expected one of {', '.join(TYPES)}")
    destination = Path(destination)
    checkpoint = read_checkpoint(source)
    _refuse_overwriting(checkpoint, destination)
    ggml_write.expressible(checkpoint.config)
    multiple_of = ggml_write.multiple_of_for(
        checkpoint.config, checkpoint.metadata.get("multiple_of")
    )
    vocabulary = vocabulary_of(checkpoint, tokenizer)
    planned = plan(checkpoint, to, type)
    total_bytes = sum(tensor.n_bytes for tensor in planned)
    done_bytes = 0

    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(MappedFile(path)) for path in checkpoint.paths]

        def load(tensor: PlannedTensor) -> np.ndarray:
            nonlocal done_bytes
            data = load_as(checkpoint, tensor, files)
            done_bytes += tensor.n_bytes
            if progress:
                progress(done_bytes, total_bytes)
            return data

        with atomic_output(destination, total_bytes) as file:
            ggml_write.write_ggml(
                [file], to, checkpoint.config, vocabulary, planned, load, multiple_of
            )
    types: dict[str, int] = {}
    for tensor in planned:
        types[tensor.type] = types.get(tensor.type, 0) + 1
    return Conversion(
        source=checkpoint.format,
        destination=destination,
        format=to,
        types=types,
        n_tensors=len(planned),
        n_bytes=destination.stat().st_size,
        joined_bytes=sum(
            t.n_bytes for t in checkpoint.tensors.values()
            if isinstance(t, SplitTensor) and t.axis is not None
        ),
        elapsed_s=time.perf_counter() - start,
    )  # fmt: skip


def plan(checkpoint: Checkpoint, to: str, type: str) -> list[PlannedTensor]:
    """Every tensor that will be written, in the source's order, with its type."""
    planned = []
    tensors = dict(checkpoint.tensors)
    if checkpoint.tied_output:  # the formats of 2023 have no tied output: write it twice
        tensors["output"] = tensors["token_embedding"]
    for name, tensor in tensors.items():
        wanted = "f32" if len(tensor.shape) == 1 else tensor.type if type == "keep" else type
        planned.append(PlannedTensor(name, ggml_write.type_for(to, wanted), tensor.shape))
    return planned


def vocabulary_of(checkpoint: Checkpoint, tokenizer: str | Path | None = None) -> Vocabulary:
    """The vocabulary to write: from the given file, the checkpoint, or the file beside it."""
    path = tokenizer or checkpoint.tokenizer_path
    vocabulary = checkpoint.vocabulary
    if path is not None and (tokenizer is not None or vocabulary is None):
        vocabulary = read_vocabulary(Path(path), checkpoint.config.vocab_size)
    if vocabulary is None:
        raise FormatError(
            f"{checkpoint.paths[0]}: has no vocabulary and no tokenizer.model lies beside it; give "
            f"one with --tokenizer FILE"
        )
    if len(vocabulary) != checkpoint.config.vocab_size:
        raise FormatError(
            f"{path}: has {len(vocabulary)} pieces, the weights have "
            f"{checkpoint.config.vocab_size}; this is another model's tokenizer"
        )
    return vocabulary


def load_as(
    checkpoint: Checkpoint, planned: PlannedTensor, files: Sequence[MappedFile]
) -> np.ndarray:
    """One tensor in the form in which it will be written.

    Returns:
        A view of the source where nothing has to change, else a new array of the planned type.
    """
    name = planned.name if planned.name in checkpoint.tensors else "token_embedding"
    tensor = checkpoint.tensors[name]
    if isinstance(tensor, SplitTensor) and tensor.axis is None:
        tensor = tensor.pieces[0]
    if isinstance(tensor, TensorSpec):
        whole = files[tensor.file].view(tensor)
        if tensor.type == planned.type and not tensor.big_endian:
            return whole
        rows = lambda start, stop: whole[start:stop]  # noqa: E731
    else:
        pieces, axis = [files[p.file].view(p) for p in tensor.pieces], tensor.axis
        rows = lambda start, stop: join_rows(pieces, axis, start, stop)  # noqa: E731
    out_type = BLOCK_TYPES[planned.type]
    n_rows, row_length = planned.shape[0], planned.shape[-1]
    if len(planned.shape) == 1:
        return to_type(rows(0, n_rows), planned.type)
    out = np.empty((n_rows, row_length // out_type.block_size), out_type.dtype)
    step = max(1, _CHUNK_BYTES // (4 * row_length))
    for first in range(0, n_rows, step):
        last = min(n_rows, first + step)
        out[first:last] = to_type(rows(first, last), planned.type)
    return out


def to_type(stored: np.ndarray, type_name: str) -> np.ndarray:
    """Stored numbers of any type as another type: exact where the new type can hold them."""
    if stored.dtype == BLOCK_TYPES[type_name].dtype:
        return stored
    numbers = dequantize(stored)
    if type_name == "f32":
        return numbers
    with np.errstate(over="ignore"):
        halves = numbers.astype(np.float16)
    if not np.array_equal(np.isfinite(halves), np.isfinite(numbers)):
        raise FormatError(
            f"a weight of {np.abs(numbers[np.isfinite(numbers)]).max():g} is too large for f16, "
            f"which ends at 65504; convert to f32"
        )
    return halves


def _refuse_overwriting(checkpoint: Checkpoint, destination: Path) -> None:
    for path in checkpoint.paths:
        if destination.exists() and destination.samefile(path):
            raise FormatError(f"{destination}: is the source itself; choose another destination")
