"""Any readable checkpoint into any format that we write, tensor by tensor.

At no time is more than one tensor in memory, as stored and as it will be written. The destination
appears when it is complete.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llama_edu.convert.loading import load_as
from llama_edu.convert.output_formats import (
    FormatName,
    OutputFormat,
    WriteRequest,
    output_format,
)
from llama_edu.convert.planning import TYPES, TypeName, losses, plan, vocabulary_of
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.detect import open_checkpoint
from llama_edu.files.layout import Checkpoint, LoadTensor, PlannedTensor, ShardedTensor
from llama_edu.files.mapped import MappedFile

#: Called with (bytes written, bytes in all) after each tensor.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        source: the format of the source. format: the name of the format that was written.
        types: stored type -> how many tensors have it now.
        n_bytes: bytes of the tensors that were written.
        joined_bytes: bytes of the source's tensors that were joined from shards.
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
        joined = f", {self.joined_bytes:,} of them joined from shards" if self.joined_bytes else ""
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
    to: FormatName = "ggjt-v1",
    type: TypeName = "keep",
    shards: int = 1,
    tokenizer: str | Path | None = None,
    allow_requantize: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Write a checkpoint as another format.

    Args:
        source: a weight file or a folder.
        destination: the file to write; for safetensors a folder, or one file ending so.
        to: the format.
        type: the type of the matrices; vectors are always f32.
        shards: cut every matrix over this many files by fairscale's rule (ggml and ggmf only).
        tokenizer: a vocabulary file, where the source has none.
        allow_requantize: let blocks of one quantized type become blocks of another.
        progress: called with (bytes written, bytes in all) after each tensor.
    Raises:
        FormatError: the source cannot be read, or the format cannot express it.
        RequestError: an unknown format or type, or a requantization that was not allowed.
    """
    start = time.perf_counter()
    output = output_format(to)
    if type not in TYPES:
        raise RequestError(f"cannot write type {type!r}, expected one of {', '.join(TYPES)}")
    _check_shards(shards, output)
    destination = Path(destination)
    with contextlib.ExitStack() as stack:
        checkpoint, files = open_checkpoint(source, mmap=False)
        for file in files:
            stack.enter_context(file)
        _refuse_overwriting(checkpoint, destination)
        output.check(checkpoint.config)
        vocabulary = vocabulary_of(checkpoint, tokenizer) if output.needs_vocabulary else None
        planned = plan(checkpoint, output, type)
        lost = losses(checkpoint, planned, allowed=allow_requantize)

        def check_source() -> None:
            for file in files:
                file.check_unchanged()

        output.write(
            WriteRequest(
                destination=destination,
                checkpoint=checkpoint,
                config=replace(checkpoint.config, rope_pairing="interleaved"),
                vocabulary=vocabulary,
                tensors=planned,
                load=_loader(checkpoint, files, planned, progress),
                tokenizer_path=Path(tokenizer) if tokenizer else checkpoint.tokenizer_path,
                shards=shards,
                check_source=check_source,
            )
        )
    return Conversion(
        source=checkpoint.format,
        destination=destination,
        format=to,
        types=dict(Counter(tensor.type for tensor in planned)),
        n_tensors=len(planned),
        n_bytes=sum(tensor.n_bytes for tensor in planned),
        joined_bytes=_joined_bytes(checkpoint),
        elapsed_s=time.perf_counter() - start,
        losses=lost,
    )


def _loader(
    checkpoint: Checkpoint,
    files: Sequence[MappedFile],
    planned: Sequence[PlannedTensor],
    progress: Progress | None,
) -> LoadTensor:
    """What gives a writer one tensor after another, and keeps none of them."""
    total_bytes = sum(tensor.n_bytes for tensor in planned)
    done_bytes = 0

    def load(tensor: PlannedTensor) -> np.ndarray:
        nonlocal done_bytes
        data = load_as(checkpoint, tensor, files)
        done_bytes += tensor.n_bytes
        if progress:
            progress(done_bytes, total_bytes)
        return data

    return load


def _joined_bytes(checkpoint: Checkpoint) -> int:
    return sum(
        tensor.n_bytes
        for tensor in checkpoint.tensors.values()
        if isinstance(tensor, ShardedTensor) and tensor.axis is not None
    )


def _check_shards(shards: int, output: OutputFormat) -> None:
    if shards < 1:
        raise RequestError(f"shards is {shards}, expected 1 or more")
    if shards > 1 and not output.shards:
        raise RequestError(
            f"{output.name} is always one file, expected ggml or ggmf for {shards} shards"
        )


def _refuse_overwriting(checkpoint: Checkpoint, destination: Path) -> None:
    for path in checkpoint.paths:
        if destination.exists() and destination.samefile(path):
            raise FormatError(f"{destination}: is the source itself; choose another destination")
