"""Convert any readable checkpoint to any format that this package writes, tensor by tensor.

Only one tensor at a time is in memory, as stored and as it will be written. The destination
appears when it is complete.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.convert.arrange import (
    Arrangement,
    check_arrangement,
    load_arranged,
    order_settings,
    plan_arranged,
)
from llama_edu.convert.keys import changed, check_keys, parsed, without_dropped_ends
from llama_edu.convert.losses import facts_of, lost_on_the_way
from llama_edu.convert.output_formats import (
    FormatName,
    OutputFormat,
    WriteRequest,
    output_format,
)
from llama_edu.convert.planning import TYPES, TypeName, plan, rounding, vocabulary_of
from llama_edu.errors import FormatError, LlamaEduError, RequestError
from llama_edu.files.detect import open_checkpoint
from llama_edu.files.layout import (
    Checkpoint,
    LayoutName,
    LoadTensor,
    PlannedTensor,
    ShardedTensor,
    TensorSpec,
    TypedValue,
)
from llama_edu.files.mapped import MappedFile
from llama_edu.models import locate
from llama_edu.rope import llama3_scaling
from llama_edu.stated import Stated
from llama_edu.table import Rows
from llama_edu.text import visible
from llama_edu.vocabulary import Vocabulary

#: Called with (bytes done, bytes in total) after each tensor is loaded.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Conversion(Rows):
    """What a conversion did.

    Attributes:
        source: the format of the source. format: the name of the format that was written.
        types: stored type -> how many tensors have it now.
        n_bytes: bytes of the tensors that were written; the file has a header and padding as well.
        joined_bytes: bytes of the source's tensors that were joined from shards.
        losses: sentences on what was lost, each beginning with its name: what was rounded, beyond
            the step from floats to the type asked for, and what the format has no place for.
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
            f"{visible(str(self.destination))}: {self.format}, {self.n_tensors} tensors ({types}) "
            f"of {self.n_bytes:,} bytes{joined}, {self.elapsed_s:.2f} s",
            *_by_reason(self.losses),
        ]
        return "\n".join(lines)


def _by_reason(losses: Sequence[str]) -> list[str]:
    """Losses in fewer lines: names with one reason share a line."""
    names: dict[str, list[str]] = {}
    for sentence in losses:
        name, _, reason = sentence.rpartition(": ")
        names.setdefault(reason, []).append(visible(name))
    return [
        f"{', '.join(found)}: {visible(reason)}" if any(found) else visible(reason)
        for reason, found in names.items()
    ]


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    to: FormatName = "ggjt-v1",
    type: TypeName = "keep",
    shards: int = 1,
    tokenizer: str | Path | None = None,
    allow_requantize: bool = False,
    set_keys: Mapping[str, str] | None = None,
    drop_keys: Sequence[str] = (),
    progress: Progress | None = None,
    stated: Stated | None = None,
    layout: LayoutName = "rows",
    order: np.ndarray | None = None,
    down_type: TypeName = "keep",
    embedding_type: TypeName = "keep",
) -> Conversion:
    """Write a checkpoint as another format.

    Args:
        source: a weight file, a folder, or a name, as for `load`.
        destination: the file to write; for safetensors a folder, or a file ending in .safetensors.
        to: the format.
        type: the type of the matrices; vectors are always f32, and so are the routers of experts in
            a GGUF file.
        shards: split every matrix across this many files by fairscale's rule (ggml and ggmf only).
        tokenizer: a vocabulary file, for a source without one.
        allow_requantize: let blocks of one quantized type become blocks of another.
        set_keys: GGUF key -> value as text, of the type that the key has in the source, else what
            the text looks like (gguf only).
        drop_keys: keys that are not carried; they are not named as losses.
        progress: called with (bytes written, bytes in all) after each tensor.
        stated: what replaces sizes that the source states or leaves out.
        layout: how the matrices of the feed-forward lie (gguf only); "rows" is that of every other
            file. The function is the same in all of them.
        order: (n_layers, hidden_dim) whole numbers, for each layer which hidden neuron comes first,
            second and so on (gguf only). None leaves the neurons where they are.
        down_type: a type for w_down alone. In another layout or order its blocks hold other
            numbers, and more bits lose less.
        embedding_type: a type for the token embedding alone.
    Raises:
        FormatError: the source cannot be read, the format cannot express it, or the destination
            cannot be written.
        RequestError: an unknown format or type, shards that the format does not have, or a
            requantization that was not allowed.
    """
    start = time.perf_counter()
    output = output_format(to)
    for wanted in (type, embedding_type):
        if wanted not in TYPES:
            raise RequestError(f"cannot write type {wanted!r}, expected one of {', '.join(TYPES)}")
    _check_shards(shards, output)
    destination = Path(destination)
    tokenizer_path = locate(tokenizer) if tokenizer else None
    with contextlib.ExitStack() as stack:
        checkpoint, files = open_checkpoint(source, mmap=False)
        for file in files:
            stack.enter_context(file)
        checkpoint = (stated or Stated()).apply(checkpoint)
        _refuse_overwriting(checkpoint, destination)
        arrangement = Arrangement(layout, order, down_type)
        settings = _settings(checkpoint, output, arrangement, set_keys or {}, drop_keys)
        request = _request(
            checkpoint, files, output, (type, embedding_type), destination, shards, tokenizer_path,
            arrangement, progress,
        )  # fmt: skip
        request = _with_keys(request, settings, drop_keys)
        rounded = rounding(
            checkpoint, request.tensors, allowed=allow_requantize, reordered=order is not None
        )
        facts = facts_of(checkpoint, request.vocabulary, lambda spec: files[spec.file].view(spec))
        output.write(request)
    lost = _read_again(facts, destination, to, {*settings, *drop_keys})
    return Conversion(
        source=checkpoint.format,
        destination=destination,
        format=to,
        types=dict(Counter(tensor.type for tensor in request.tensors)),
        n_tensors=len(request.tensors),
        n_bytes=sum(tensor.n_bytes for tensor in request.tensors),
        joined_bytes=_joined_bytes(checkpoint),
        elapsed_s=time.perf_counter() - start,
        losses=(*rounded, *lost, *_not_applied(request.vocabulary, to)),
    )


def _settings(
    checkpoint: Checkpoint,
    output: OutputFormat,
    arrangement: Arrangement,
    set_keys: Mapping[str, str],
    drop_keys: Sequence[str],
) -> dict[str, TypedValue]:
    """Keys that win over all others. RequestError for what this format or model cannot have."""
    check_keys(set_keys, drop_keys, output.name)
    check_arrangement(arrangement, checkpoint, output.name)
    return {**parsed(set_keys, checkpoint.carried), **order_settings(checkpoint, arrangement)}


def _request(
    checkpoint: Checkpoint,
    files: Sequence[MappedFile],
    output: OutputFormat,
    types: tuple[TypeName, TypeName],
    destination: Path,
    shards: int,
    tokenizer_path: Path | None,
    arrangement: Arrangement,
    progress: Progress | None,
) -> WriteRequest:
    """What the format's writer is to write. FormatError where the format cannot express it.

    `types` are that of the matrices and that of the embedding.
    """
    divisors = _divisors(checkpoint, files)
    config = _expressible(checkpoint, divisors, output)
    planned = plan_arranged(plan(checkpoint, output, *types), arrangement)

    def check_source() -> None:
        for file in files:
            file.check_unchanged()

    return WriteRequest(
        destination=destination,
        checkpoint=checkpoint,
        config=replace(config, rope_pairing="interleaved"),
        vocabulary=_vocabulary(checkpoint, tokenizer_path, output),
        tensors=planned,
        load=_loader(checkpoint, files, planned, progress, arrangement.order),
        tokenizer_path=tokenizer_path or checkpoint.tokenizer_path,
        shards=shards,
        carried=checkpoint.carried,
        settings={},
        divisors=divisors,
        layout=arrangement.layout,
        check_source=check_source,
    )


def _with_keys(
    request: WriteRequest, settings: Mapping[str, TypedValue], drop_keys: Sequence[str]
) -> WriteRequest:
    """The same with keys set and dropped; an end of texts that is dropped ends none."""
    vocabulary, carried = request.vocabulary, request.carried
    if vocabulary is not None:
        vocabulary = without_dropped_ends(vocabulary, carried, drop_keys)
    carried = changed(carried, drop_keys)
    return replace(request, vocabulary=vocabulary, carried=carried, settings=settings)


def _read_again(
    facts: Mapping[str, object], destination: Path, to: FormatName, meant: Collection[str]
) -> tuple[str, ...]:
    """What was lost, found by reading what was written; says where it is if that fails."""
    try:
        return lost_on_the_way(facts, destination, to, meant)
    except LlamaEduError as error:
        raise FormatError(
            f"{destination}: is written and in its place, but could not be read again to see what "
            f"was lost; do not rely on it, and convert again. The reason: {error}"
        ) from None


def _divisors(checkpoint: Checkpoint, files: Sequence[MappedFile]) -> np.ndarray | None:
    """(head_dim / 2,) float32, a copy of what the source divides RoPE's frequencies by, or None."""
    stored = checkpoint.metadata.get("rope_freqs")
    if not isinstance(stored, TensorSpec):
        return None
    return files[stored.file].view(stored).astype(np.float32)


def _expressible(
    checkpoint: Checkpoint, divisors: np.ndarray | None, output: OutputFormat
) -> ModelConfig:
    """The sizes to write, RoPE's scaling by name where the format has no tensor for it.

    Raises FormatError where the format cannot express them.
    """
    config = checkpoint.config
    if divisors is not None and not output.divisors and not (divisors == 1).all():
        scaling = llama3_scaling(divisors, config)
        if scaling is None or config.rope_scaling is not None:
            raise FormatError(
                f"{checkpoint.paths[0]}: rope_freqs.weight follows no rule that {output.name} has "
                f"a name for; convert to gguf"
            )
        config = replace(config, rope_scaling=scaling)
    output.check(config)
    return config


def _vocabulary(
    checkpoint: Checkpoint, tokenizer: str | Path | None, output: OutputFormat
) -> Vocabulary | None:
    """The vocabulary to write; None where the format can do without one and there is none.

    None as well for one that is not understood and goes into a GGUF file as it is.
    """
    if checkpoint.vocabulary_problem and tokenizer is None:
        if output.needs_vocabulary and not output.carries_keys:
            raise FormatError(
                f"{checkpoint.vocabulary_problem}, or convert to gguf, which carries it as it is"
            )
        return None
    if output.needs_vocabulary:
        return vocabulary_of(checkpoint, tokenizer)
    try:
        return vocabulary_of(checkpoint, tokenizer)
    except (FormatError, RequestError):  # a file that is not understood is copied all the same
        return None


def _not_applied(vocabulary: Vocabulary | None, to: FormatName) -> tuple[str, ...]:
    """What is in the file and llama.cpp takes no notice of."""
    normalizes = vocabulary is not None and (vocabulary.charsmap or vocabulary.removes_spaces)
    if not normalizes or to != "gguf":
        return ()
    return ("normalization of texts: is in the file, and llama.cpp does not apply it",)


def _loader(
    checkpoint: Checkpoint,
    files: Sequence[MappedFile],
    planned: Sequence[PlannedTensor],
    progress: Progress | None,
    order: np.ndarray | None,
) -> LoadTensor:
    """A function that gives a writer one tensor after another and keeps none of them."""
    total_bytes = sum(tensor.n_bytes for tensor in planned)
    done_bytes = 0

    def load(tensor: PlannedTensor) -> np.ndarray:
        nonlocal done_bytes
        data = load_arranged(checkpoint, tensor, files, order)
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
