"""Any readable checkpoint into any format that we write, tensor by tensor.

At no time is more than one tensor in memory. The destination appears when it is complete.
"""

from __future__ import annotations

import contextlib
import mmap
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llama_edu.convert.targets import Job, Target, target_named
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.layout import Checkpoint, PlannedTensor, SplitTensor, TensorSpec
from llama_edu.files.mapped import MappedFile
from llama_edu.files.row_order import permute_rows_to_interleaved
from llama_edu.files.shards import join_rows
from llama_edu.files.vocabularies.detect import read_vocabulary
from llama_edu.quants.blocks import BLOCK_TYPES, block_type_of, dequantize
from llama_edu.quants.quantize import quantize
from llama_edu.quants.repack import can_repack, repack, repack_is_exact
from llama_edu.vocabulary import Vocabulary

#: What --type may say; "keep" leaves every matrix as it is.
TYPES = ("keep", "f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0")

#: Rows are converted in pieces of about this many float32 bytes.
_CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        types: stored type -> how many tensors have it now.
        n_bytes: bytes written. joined_bytes: of them, joined from parts of a split checkpoint.
        losses: sentences on what was rounded, beyond the step from floats to the type asked for.
    """

    source: str
    destination: Path
    format: str
    types: dict[str, int]
    n_tensors: int
    n_bytes: int
    joined_bytes: int
    elapsed_s: float
    losses: tuple[str, ...] = ()

    def __str__(self) -> str:
        types = ", ".join(f"{count} {name}" for name, count in self.types.items())
        joined = f", {self.joined_bytes:,} of them joined from parts" if self.joined_bytes else ""
        lines = [
            f"{self.destination}: {self.format}, {self.n_tensors} tensors ({types}), "
            f"{self.n_bytes:,} bytes{joined}, {self.elapsed_s:.2f} s",
            *self.losses,
        ]
        return "\n".join(lines)


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    to: str = "ggjt-v1",
    type: str = "keep",
    parts: int = 1,
    tokenizer: str | Path | None = None,
    allow_requantize: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write a checkpoint as another format.

    Args:
        source: a weight file or a folder.
        destination: the file to write; for safetensors a folder, or one file ending so.
        to: a name in `targets.TARGETS`.
        type: one of TYPES, for matrices; vectors are always f32 where the format wants it.
        parts: cut into so many files by fairscale's rule (ggml and ggmf only).
        tokenizer: a vocabulary file, where the source has none.
        allow_requantize: let blocks of one quantized type become blocks of another.
        progress: called with (bytes written, bytes in all) after each tensor.
    Raises:
        FormatError: the source cannot be read, or the target cannot express it.
        RequestError: an unknown format or type, or a requantization that was not allowed.
    """
    start = time.perf_counter()
    target = target_named(to)
    if type not in TYPES:
        raise RequestError(f"cannot write type {type!r}, expected one of {', '.join(TYPES)}")
    _check_parts(parts, to)
    destination = Path(destination)
    checkpoint = read_checkpoint(source)
    _refuse_overwriting(checkpoint, destination)
    target.check(checkpoint.config)
    vocabulary = None
    if target.needs_vocabulary:
        vocabulary = vocabulary_of(checkpoint, tokenizer)
    planned = plan(checkpoint, target, to, type)
    losses = _losses(checkpoint, planned, allow_requantize)
    total_bytes = sum(tensor.n_bytes for tensor in planned)
    done_bytes = 0

    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(MappedFile(path)) for path in checkpoint.paths]

        def load(tensor: PlannedTensor) -> np.ndarray:
            nonlocal done_bytes
            for file in files:
                _release_pages(file)
            data = load_as(checkpoint, tensor, files)
            done_bytes += tensor.n_bytes
            if progress:
                progress(done_bytes, total_bytes)
            return data

        target.write(
            Job(
                destination=destination,
                checkpoint=checkpoint,
                config=replace(checkpoint.config, rope_pairing="interleaved"),
                vocabulary=vocabulary,
                tensors=planned,
                load=load,
                tokenizer_path=Path(tokenizer) if tokenizer else checkpoint.tokenizer_path,
                parts=parts,
            )
        )
    return Conversion(
        source=checkpoint.format,
        destination=destination,
        format=to,
        types=dict(Counter(tensor.type for tensor in planned)),
        n_tensors=len(planned),
        n_bytes=total_bytes,
        joined_bytes=sum(
            tensor.n_bytes
            for tensor in checkpoint.tensors.values()
            if isinstance(tensor, SplitTensor) and tensor.axis is not None
        ),
        elapsed_s=time.perf_counter() - start,
        losses=losses,
    )


def plan(checkpoint: Checkpoint, target: Target, to: str, type: str) -> list[PlannedTensor]:
    """Every tensor that will be written, in the source's order, with its type."""
    planned = []
    tensors = dict(checkpoint.tensors)
    if checkpoint.tied_output and not target.tied_output:  # the matrix is then written twice
        tensors["output"] = tensors["token_embedding"]
    for name, tensor in tensors.items():
        if len(tensor.shape) == 1:
            wanted = "f32"
        else:
            wanted = tensor.type if type == "keep" else type
        stored = BLOCK_TYPES[target.stored_type(wanted, to)]
        if tensor.shape[-1] % stored.block_size:
            raise FormatError(
                f"{name}: rows of {tensor.shape[-1]} numbers cannot become {stored.name}, whose "
                f"blocks have {stored.block_size}; choose f16 or f32"
            )
        planned.append(PlannedTensor(name, stored.name, tensor.shape))
    return planned


def vocabulary_of(checkpoint: Checkpoint, tokenizer: str | Path | None = None) -> Vocabulary:
    """The vocabulary to write: from the given file, the checkpoint, or the file beside it."""
    path = tokenizer or checkpoint.tokenizer_path
    vocabulary = checkpoint.vocabulary
    if path is not None:  # a file of 2023 without scores has a path only to find them there
        vocabulary = read_vocabulary(Path(path), checkpoint.config.vocab_size)
    if vocabulary is None:
        raise FormatError(
            f"{checkpoint.paths[0]}: has no vocabulary and no tokenizer.model lies beside it; give "
            f"one with --tokenizer FILE"
        )
    if len(vocabulary) != checkpoint.config.vocab_size:
        raise FormatError(
            f"{path or checkpoint.paths[0]}: has {len(vocabulary)} pieces, the weights have "
            f"{checkpoint.config.vocab_size}; this is another model's tokenizer"
        )
    return vocabulary


def load_as(
    checkpoint: Checkpoint, planned: PlannedTensor, files: Sequence[MappedFile]
) -> np.ndarray:
    """One tensor in the form in which it will be written, RoPE's pairs side by side.

    Returns:
        A view of the source where nothing has to change, else a new array of the planned type.
    """
    tensor = _source_of(checkpoint, planned)
    if isinstance(tensor, SplitTensor) and tensor.axis is None:
        tensor = tensor.pieces[0]
    if isinstance(tensor, TensorSpec):
        pieces, axis = [files[tensor.file].view(tensor)], 0
    else:
        assert tensor.axis is not None  # vectors were taken from their first piece above
        pieces, axis = [files[p.file].view(p) for p in tensor.pieces], tensor.axis
    out_type = BLOCK_TYPES[planned.type]
    if len(pieces) == 1 and pieces[0].dtype == out_type.dtype:
        data = pieces[0]
    elif len(planned.shape) == 1:
        data = to_type(pieces[0], planned.type, planned.name)
    else:
        n_rows, row_length = planned.shape
        data = np.empty((n_rows, row_length // out_type.block_size), out_type.dtype)
        step = max(1, _CHUNK_BYTES // (4 * row_length))
        for first in range(0, n_rows, step):
            last = min(n_rows, first + step)
            rows = join_rows(pieces, axis, first, last)
            data[first:last] = to_type(rows, planned.type, planned.name)
    if checkpoint.config.rope_pairing == "halves" and planned.name.endswith((".wq", ".wk")):
        config = checkpoint.config
        n_heads = config.n_heads if planned.name.endswith(".wq") else config.n_kv_heads
        data = permute_rows_to_interleaved(data, n_heads)
    return data


def to_type(stored: np.ndarray, type_name: str, where: str) -> np.ndarray:
    """Stored numbers of any type as another type; blocks of one family keep their codes."""
    if stored.dtype == BLOCK_TYPES[type_name].dtype:
        return stored
    if can_repack(block_type_of(stored).name, type_name):
        return repack(stored, type_name, where)
    return quantize(dequantize(stored), type_name, where=where)


def _source_of(checkpoint: Checkpoint, planned: PlannedTensor) -> TensorSpec | SplitTensor:
    """The tensor from which a planned one is made; a tied output comes from the embedding."""
    tied = planned.name not in checkpoint.tensors
    return checkpoint.tensors["token_embedding" if tied else planned.name]


def _losses(
    checkpoint: Checkpoint, planned: Sequence[PlannedTensor], allowed: bool
) -> tuple[str, ...]:
    """Name what quantized blocks lose by becoming other blocks; refuse unless allowed."""
    losses: dict[str, None] = {}
    for tensor in planned:
        source = _source_of(checkpoint, tensor).type
        if source == tensor.type or not BLOCK_TYPES[source].is_quantized:
            continue
        if not BLOCK_TYPES[tensor.type].is_quantized:
            continue
        if can_repack(source, tensor.type):
            if repack_is_exact(source, tensor.type):
                continue
            loss = "the codes stay, their scales are rounded from float32 to float16"
        else:
            loss = "the numbers are rounded a second time, on top of the first"
        losses[f"{source} to {tensor.type}: {loss}"] = None
    if losses and not allowed:
        raise RequestError(
            f"{checkpoint.paths[0]}: {'; '.join(losses)}; convert from the original floats, or add "
            f"--allow-requantize to accept this"
        )
    return tuple(losses)


def _check_parts(parts: int, to: str) -> None:
    if parts < 1:
        raise RequestError(f"parts is {parts}, expected 1 or more")
    if parts > 1 and to not in ("ggml", "ggmf"):
        raise RequestError(f"{to} is always one file, expected ggml or ggmf for {parts} parts")


def _release_pages(file: MappedFile) -> None:
    """Give back the pages of the tensors that are done; they stay in the page cache."""
    if hasattr(mmap, "MADV_DONTNEED"):
        file.mmap.madvise(mmap.MADV_DONTNEED)


def _refuse_overwriting(checkpoint: Checkpoint, destination: Path) -> None:
    for path in checkpoint.paths:
        if destination.exists() and destination.samefile(path):
            raise FormatError(f"{destination}: is the source itself; choose another destination")
