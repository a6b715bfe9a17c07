"""Which weights a LLaMA has: tensors by our names, none missing, none extra, all shapes correct."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError
from llama_edu.files.layout import ShardedTensor, TensorSpec
from llama_edu.files.names import Dialect, to_ours
from llama_edu.files.parts.stacked import matrices_in, unstacked
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


def our_tensors(
    stored: TensorSpec, dialect: Dialect, where: object, config: ModelConfig | None
) -> list[TensorSpec]:
    """A stored tensor by our name; one for each expert where it holds those of a layer.

    Args:
        stored: named as in the file.
        config: says how many experts there are; None where no dialect's file has any.
    Returns:
        None of them for a tensor that is not used.
    Raises:
        FormatError: a tensor that no LLaMA has, or experts that are not as many.
    """
    stored = replace(stored, stored_name=stored.name)
    kinds = matrices_in(stored.name, dialect)
    if kinds and config is not None:
        return unstacked(stored, kinds, config, where)
    name = our_name(stored.name, dialect, where)
    return [] if name is None else [replace(stored, name=name)]


def with_our_names(
    stored: Mapping[str, TensorSpec],
    dialect: Dialect,
    where: object,
    *,
    config: ModelConfig | None = None,
    tied_output: bool = False,
) -> tuple[dict[str, TensorSpec], tuple[str, ...]]:
    """Tensors by our names, and the stored names of those that are not used.

    Args:
        stored: stored name -> TensorSpec of that name.
        dialect: whose names these are.
        where: the start of every error message.
        config: as for `our_tensors`.
        tied_output: whether the config states that the output is the embedding; a stored copy of it
            is then ignored.
    Raises:
        FormatError: a tensor that no LLaMA has, experts that are not as many, or one weight under
            two names.
    """
    tensors: dict[str, TensorSpec] = {}
    ignored = []
    for stored_name, spec in stored.items():
        ours = our_tensors(spec, dialect, where, config)
        if not ours or (tied_output and ours[0].name == "output"):
            ignored.append(stored_name)
            continue
        check_new(ours, tensors, where)
        tensors |= {tensor.name: tensor for tensor in ours}
    return tensors, tuple(ignored)


def check_new(ours: Sequence[TensorSpec], tensors: Mapping[str, TensorSpec], where: object) -> None:
    """Raise FormatError for a weight that is there already, under another name."""
    for tensor in ours:
        if tensor.name in tensors:
            names = (tensors[tensor.name].stored_name, tensor.stored_name)
            raise FormatError(
                f"{where}: has {tensor.name} twice, as {one_line(names[0])} and as "
                f"{one_line(names[1])}; expected every weight once"
            )


def check_tensors(
    tensors: Mapping[str, TensorSpec | ShardedTensor], config: ModelConfig, where: object
) -> None:
    """Raise FormatError unless the tensors are exactly those that the sizes require."""
    routed = next((name for name in tensors if name.endswith(".router") or ".experts." in name), "")
    if routed and not config.n_experts:
        raise FormatError(
            f"{where}: has {routed}, and its sizes state no experts, expected their number; the "
            f"two contradict each other"
        )
    _check_enough(tensors, config, where)
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


def _check_enough(names: Collection[str], config: ModelConfig, where: object) -> None:
    """Raise FormatError if a layer or an expert has no weight at all.

    Asked before all names are listed, which a header could make endless: a file that states more
    layers or experts than there are names lacks one of them.
    """
    in_layer = 9 if not config.n_experts else 7 + 3 * config.n_experts
    expected = in_layer * config.n_layers + 2
    if len(names) >= expected:
        return
    experts: dict[str, set[str]] = {}
    for name in names:
        if name.startswith("layers."):
            _, layer, *rest = name.split(".")
            experts.setdefault(layer, set()).update(rest[1:2] if rest[0] == "experts" else ())
    rest_of_sentence = (
        f"expected {expected:,} for {config.n_layers:,} layers; the file is incomplete"
    )
    for i in range(config.n_layers):
        found = experts.get(str(i))
        if found is None:
            raise FormatError(
                f"{where}: has {len(names):,} weights and none for layer {i}, {rest_of_sentence}"
            )
        expert = next((e for e in range(config.n_experts) if str(e) not in found), None)
        if expert is not None:
            raise FormatError(
                f"{where}: has {len(names):,} weights and none for expert {expert} of "
                f"{config.n_experts:,} in layer {i}, {rest_of_sentence}"
            )
