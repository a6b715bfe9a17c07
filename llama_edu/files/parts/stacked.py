"""Tensors with three axes, which hold a matrix of every expert of a layer one after another.

Each expert becomes a TensorSpec of its own, a view of its part: nothing is copied, and a ledger can
tell the experts apart.
"""

from __future__ import annotations

from dataclasses import replace

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError
from llama_edu.files.layout import TensorSpec
from llama_edu.files.names import Dialect, numbered
from llama_edu.quants.blocks import BLOCK_TYPES
from llama_edu.text import one_line

#: Name in the file -> the matrices that lie below one another in each expert's part.
_STACKED: dict[Dialect, dict[str, tuple[str, ...]]] = {
    "gguf": {
        "blk.{i}.ffn_gate_exps.weight": ("w_gate",),
        "blk.{i}.ffn_up_exps.weight": ("w_up",),
        "blk.{i}.ffn_down_exps.weight": ("w_down",),
    },
    "huggingface": {
        "model.layers.{i}.mlp.experts.gate_up_proj": ("w_gate", "w_up"),
        "model.layers.{i}.mlp.experts.down_proj": ("w_down",),
    },
    "meta": {},
}

#: The largest number of experts in all layers together that is accepted: the records of an expert
#: take more memory than a header that claims it. Mixtral 8x22B has 448.
MOST_EXPERTS = 2**15


def matrices_in(stored_name: str, dialect: Dialect) -> tuple[str, ...]:
    """The kinds of matrices that a stored tensor has of each expert; () for a plain tensor."""
    return _STACKED[dialect].get(numbered(stored_name)[0], ())


def gguf_stack(name: str) -> str | None:
    """The GGUF tensor in which one of our matrices is a part; None for what is a whole tensor."""
    template, numbers = numbered(name)
    if "{e}" not in template:
        return None
    kind = template.rpartition(".")[2]
    foreign = next(stored for stored, kinds in _STACKED["gguf"].items() if kinds == (kind,))
    return foreign.format(**numbers)


def expert_of(name: str) -> int:
    """The expert to which one of our matrices belongs; -1 for a weight that belongs to none."""
    return int(numbered(name)[1].get("e", -1))


def unstacked(
    stored: TensorSpec, kinds: tuple[str, ...], config: ModelConfig, where: object
) -> list[TensorSpec]:
    """The matrices of each expert as views of a stacked tensor.

    Args:
        stored: (n_experts, len(kinds) * out_features, in_features), by its stored name.
        kinds: what `matrices_in` says of it.
        config: says how many experts and layers there should be.
        where: the start of every error message.
    Raises:
        FormatError: another number of axes or of experts, no numbers, rows that cannot be divided
            among `kinds`, a layer that the model does not have, or more experts than are accepted.
    """
    name = one_line(stored.name)
    if len(stored.shape) != 3:
        raise FormatError(
            f"{where}: {name} has shape {stored.shape}, expected three axes, the first for the "
            f"experts; the file is damaged"
        )
    found, rows, columns = stored.shape
    if found != config.n_experts:
        raise FormatError(
            f"{where}: {name} holds {found:,} experts, expected {config.n_experts:,} by the sizes "
            f"of the model; the two contradict each other"
        )
    if rows == 0 or columns == 0 or rows % len(kinds):
        raise FormatError(
            f"{where}: {name} has shape {stored.shape}, expected {len(kinds)} matrices of as many "
            f"rows in each expert; the file is damaged"
        )
    layer = numbered(stored.name)[1]["i"]
    total = config.n_layers * config.n_experts
    if int(layer) >= config.n_layers or total > MOST_EXPERTS:
        raise FormatError(
            f"{where}: {name} is one of {config.n_layers:,} layers with {config.n_experts:,} "
            f"experts each, expected a layer below {config.n_layers:,} and at most "
            f"{MOST_EXPERTS:,} experts in all; the file is damaged"
        )
    out_features = rows // len(kinds)
    block_size = BLOCK_TYPES[stored.type].block_size
    steps = stored.strides or (rows * columns // block_size, columns // block_size, 1)
    last = steps[1] * (out_features - 1) + steps[2] * (stored.stored_shape[2] - 1)
    size = stored.dtype.itemsize
    return [
        replace(
            stored,
            name=f"layers.{layer}.experts.{expert}.{kind}",
            shape=(out_features, columns),
            offset=stored.offset + size * (expert * steps[0] + part * out_features * steps[1]),
            n_bytes=size * (last + 1),
            strides=stored.strides and steps[1:],
        )
        for expert in range(config.n_experts)
        for part, kind in enumerate(kinds)
    ]
