"""Which weights a LLaMA has: tensors by our names, none missing, none extra, all shapes correct."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError
from llama_edu.files.layout import ShardedTensor, TensorSpec
from llama_edu.files.names import Dialect, to_ours
from llama_edu.text import one_line

#: Names of stored tensors that are not used: RoPE's frequencies, which follow from rope_theta.
_HARMLESS: dict[Dialect, re.Pattern[str]] = {
    "meta": re.compile(r".*freqs(_cos|_sin)?", re.DOTALL),
    "huggingface": re.compile(
        r"(model\.)?(layers\.\d+\.self_attn\.)?rotary_emb\.\w+|rope\.freqs|freqs"
    ),
    "gguf": re.compile(r"blk\.\d+\.(attn_rot_embd|rope_freqs)(\.weight)?"),
}


def our_name(stored_name: str, dialect: Dialect, where: object) -> str | None:
    """Our name for a stored tensor; None if it is not used.

    Raises FormatError, beginning with `where`, for a tensor that no LLaMA has.
    """
    name = to_ours(stored_name, dialect)
    if name is None and not _HARMLESS[dialect].fullmatch(stored_name):
        raise FormatError(
            f"{where}: has a tensor {one_line(stored_name)}, which no LLaMA has; this is "
            f"another kind of model"
        )
    return name


def with_our_names(
    stored: Mapping[str, TensorSpec], dialect: Dialect, where: object, *, tied_output: bool = False
) -> tuple[dict[str, TensorSpec], tuple[str, ...]]:
    """Tensors by our names, and the stored names of those that are not used.

    Args:
        stored: stored name -> TensorSpec.
        dialect: whose names these are.
        where: the start of every error message.
        tied_output: whether the config states that the output is the embedding; a stored copy of it
            is then ignored.
    Raises:
        FormatError: a tensor that no LLaMA has.
    """
    tensors: dict[str, TensorSpec] = {}
    ignored = []
    for stored_name, spec in stored.items():
        name = our_name(stored_name, dialect, where)
        if name is None or (tied_output and name == "output"):
            ignored.append(stored_name)
        else:
            tensors[name] = replace(spec, name=name, stored_name=stored_name)
    return tensors, tuple(ignored)


def check_tensors(
    tensors: Mapping[str, TensorSpec | ShardedTensor], config: ModelConfig, where: object
) -> None:
    """Raise FormatError unless the tensors are exactly those that the sizes require."""
    expected_count = 9 * config.n_layers + 2
    if len(tensors) < expected_count:
        # checked before building n_layers names, which a hostile header could make endless
        present = {name.split(".")[1] for name in tensors if name.startswith("layers.")}
        lacking = next((i for i in range(config.n_layers) if str(i) not in present), None)
        if lacking is not None:
            raise FormatError(
                f"{where}: has {len(tensors):,} weights and none for layer {lacking}, expected "
                f"{expected_count:,} for {config.n_layers:,} layers; the file is incomplete"
            )
    expected = config.tensor_shapes(tied_output="output" not in tensors)
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise FormatError(
            f"{where}: {len(missing)} of {len(expected)} weights are missing, the first is "
            f"{missing[0]}; the file is incomplete or its sizes are wrong"
        )
    extra = [name for name in tensors if name not in expected]
    if extra:
        raise FormatError(
            f"{where}: has {extra[0]}, which a model of {config.n_layers} layers does not have; "
            f"expected {len(expected)} weights"
        )
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise FormatError(
                f"{where}: {name} has shape {tensors[name].shape}, expected {shape} from the sizes "
                f"in the header; the two contradict each other"
            )
