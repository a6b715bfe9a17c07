"""What a conversion will write: every tensor with its type, the losses, and the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from llama_edu.config import output_name
from llama_edu.convert.output_formats import OutputFormat
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.layout import Checkpoint, PlannedTensor, ShardedTensor, TensorSpec
from llama_edu.files.vocabularies.detect import read_vocabulary
from llama_edu.files.vocabularies.ends import with_stated_ends
from llama_edu.files.vocabularies.rows import with_rows
from llama_edu.quants.blocks import BLOCK_TYPES
from llama_edu.quants.repack import can_repack, repack_is_exact
from llama_edu.vocabulary import Vocabulary

#: A type for the matrices; "keep" leaves every matrix as it is.
TypeName = Literal[
    "keep", "f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0",
    "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "tq1_0", "tq2_0",
]  # fmt: skip

#: The choices for --type.
TYPES: tuple[TypeName, ...] = get_args(TypeName)


def plan(
    checkpoint: Checkpoint,
    output: OutputFormat,
    type: TypeName,
    embedding_type: TypeName = "keep",
) -> list[PlannedTensor]:
    """Every tensor that will be written, in the source's order, with its type.

    Args:
        type: of the matrices.
        embedding_type: of the token embedding; "keep" for that of the others.
    Raises:
        FormatError: a type that the format does not have, or rows that are not whole blocks of it.
    """
    planned = []
    names = list(checkpoint.tensors)
    if checkpoint.tied_output and not output.tied_output:  # the matrix is then written twice
        names.append("output")
    for name in names:
        tensor = source_of(checkpoint, name)
        if len(tensor.shape) == 1 or (output.routers_f32 and name.endswith(".router")):
            wanted = "f32"
        else:
            alone = name == "token_embedding" and embedding_type != "keep"
            chosen = embedding_type if alone else type
            wanted = tensor.type if chosen == "keep" else chosen
        stored = BLOCK_TYPES[output.stored_type(wanted)]
        if tensor.shape[-1] % stored.block_size:
            raise FormatError(
                f"{name}: rows of {tensor.shape[-1]} numbers cannot become {stored.name}, whose "
                f"blocks have {stored.block_size}; choose f16 or f32"
            )
        planned.append(PlannedTensor(name, stored.name, tensor.shape))
    return planned


def source_of(checkpoint: Checkpoint, name: str) -> TensorSpec | ShardedTensor:
    """The tensor from which the one of this name is made; for a tied output, the embedding."""
    return checkpoint.tensors[output_name(checkpoint.tensors) if name == "output" else name]


def rounding(
    checkpoint: Checkpoint,
    planned: Sequence[PlannedTensor],
    *,
    allowed: bool,
    reordered: bool = False,
) -> tuple[str, ...]:
    """What quantized blocks lose by becoming other blocks; RequestError unless allowed.

    `reordered` says that the hidden neurons are, so that a block of w_down gets other numbers.
    """
    found: dict[str, None] = {}
    rounded: dict[str, None] = {}
    for tensor in planned:
        stored = source_of(checkpoint, tensor.name)
        source = stored.type
        crosses = _crosses_blocks(stored, tensor, reordered)
        always_f32 = len(tensor.shape) == 1 or tensor.name.endswith(".router")
        if source == "f64" and tensor.type == "f32" and always_f32:
            rounded[f"{tensor.name}: f64 is rounded to {tensor.type}"] = None
        if (source == tensor.type and not crosses) or not BLOCK_TYPES[source].is_quantized:
            continue
        if not BLOCK_TYPES[tensor.type].is_quantized:
            continue
        if crosses:
            loss = "w_down is cut into blocks in another way, and so rounded a second time"
        elif can_repack(source, tensor.type):
            if repack_is_exact(source, tensor.type):
                continue
            loss = "the codes stay, their scales are rounded from float32 to float16"
        else:
            loss = "the numbers are rounded a second time, on top of the first"
        found[f"{source} to {tensor.type}: {loss}"] = None
    if found and not allowed:
        raise RequestError(
            f"{checkpoint.paths[0]}: {'; '.join(found)}; convert from the original floats, or add "
            f"--allow-requantize to accept this"
        )
    return (*found, *rounded)


def _crosses_blocks(
    stored: TensorSpec | ShardedTensor, planned: PlannedTensor, reordered: bool
) -> bool:
    """Whether numbers of one stored block of w_down come into several new ones."""
    if not planned.name.endswith(".w_down"):
        return False
    was_transposed = isinstance(stored, TensorSpec) and stored.transposed
    return was_transposed != planned.transposed or (reordered and not planned.transposed)


def vocabulary_of(checkpoint: Checkpoint, tokenizer: str | Path | None = None) -> Vocabulary:
    """The vocabulary to write: from the given file, the file next to the weights, or the weights.

    Raises:
        FormatError: there is none, or it has settings that change the ids of a text and that no
            weight file can state. RequestError: it has more pieces than the weights have rows.
    """
    path = tokenizer or checkpoint.tokenizer_path
    vocabulary = checkpoint.vocabulary
    if path is not None:  # a ggml file has no scores: they are in the file next to it
        vocabulary = read_vocabulary(Path(path), checkpoint.config.vocab_size)
    if vocabulary is None:
        raise FormatError(
            f"{checkpoint.paths[0]}: has no vocabulary, and no tokenizer.model is next to it; "
            f"give one with --tokenizer FILE"
        )
    if vocabulary.unsaid:
        raise FormatError(
            f"{path}: {'; '.join(vocabulary.unsaid)}; text would become other tokens, so it is not "
            f"converted"
        )
    vocabulary = with_rows(vocabulary, checkpoint.config.vocab_size, path or checkpoint.paths[0])
    return vocabulary if tokenizer else with_stated_ends(vocabulary, checkpoint.carried)
