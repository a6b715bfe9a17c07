"""Text reports on checkpoints. In text from a file, what does not print is shown as an escape."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

from llama_edu.config import RopeScaling
from llama_edu.files.layout import Checkpoint, ShardedTensor
from llama_edu.table import lay_out
from llama_edu.text import one_line

#: The layouts that only files of our own have.
_LAYOUT_WORDS = {
    "down-transposed": "w_down transposed: one row per hidden neuron",
    "side-by-side": "each hidden neuron's gate, up and down numbers side by side",
}

#: Longer metadata values are cut.
_LONGEST_VALUE = 200


def checkpoint_report(
    checkpoint: Checkpoint, *, tensors: bool = False, metadata: bool = False
) -> str:
    """Format, sizes, types, and where every byte goes, as lines of text."""
    config = checkpoint.config
    n_elements: Counter[str] = Counter()
    for tensor in checkpoint.tensors.values():
        n_elements[tensor.type] += tensor.n_elements
    file_bytes = sum(path.stat().st_size for path in checkpoint.paths)
    lines = [
        f"{one_line(checkpoint.paths[0].name)}: {checkpoint.format}, recognized by "
        f"{one_line(checkpoint.recognized_by, _LONGEST_VALUE)}",
        f"  files       {len(checkpoint.paths)}, {file_bytes:,} bytes",
        f"  model       {checkpoint.n_parameters:,} parameters, {config.n_layers} layers, "
        f"dim {config.dim}, hidden_dim {config.hidden_dim}",
        *_expert_lines(checkpoint),
        f"  attention   {config.n_heads} heads of {config.head_dim}, {config.n_kv_heads} key/value "
        f"heads; rotates {config.rope_pairing} pairs, theta {config.rope_theta:g}",
        *_layout_line(checkpoint),
        f"  context     {config.max_seq_len:,} positions; norm_eps {config.norm_eps:g}",
        f"  vocabulary  {config.vocab_size:,} pieces"
        + ("" if checkpoint.vocabulary else ", in a separate file"),
        f"  output      {'the token embedding itself' if checkpoint.tied_output else 'its own'}",
        *_origin_lines(checkpoint),
        "  types       " + f"\n{'':14s}".join(
            f"{name}: {count} tensors, {n_bytes:,} bytes ({8 * n_bytes / n_elements[name]:.4g} "
            f"bits a weight)"
            for name, (count, n_bytes) in type_counts(checkpoint).items()
        ),
        "  bytes",
    ]  # fmt: skip
    budget = [(name, n_bytes, f"{100 * n_bytes / file_bytes:.2f} %")
              for name, n_bytes in byte_budget(checkpoint).items()]  # fmt: skip
    lines.append(lay_out(None, budget, indent="    "))
    if metadata:
        lines.append("  metadata")
        entries = [(_shown(key), _shown(value)) for key, value in checkpoint.metadata.items()]
        lines += lay_out(None, entries, align="<", indent="    ").splitlines()
    if tensors:
        rows = [
            (name, tensor.type, " x ".join(map(str, tensor.shape)),
             "in shards" if isinstance(tensor, ShardedTensor) else tensor.offset)
            for name, tensor in checkpoint.tensors.items()
        ]  # fmt: skip
        heads = ("name", "type", "shape", "offset")
        lines += ["  tensors", lay_out(heads, rows, "<><>", "    ")]
    return "\n".join(lines)


def checkpoint_as_dict(checkpoint: Checkpoint) -> dict[str, object]:
    """The same facts as plain values, for JSON."""
    return {
        "format": checkpoint.format,
        "recognized_by": checkpoint.recognized_by,
        "files": [
            {"name": path.name, "n_bytes": path.stat().st_size} for path in checkpoint.paths
        ],
        "config": dataclasses.asdict(checkpoint.config),
        "assumed": dict(checkpoint.assumed),
        "n_parameters": checkpoint.n_parameters,
        "n_active_parameters": checkpoint.n_active_parameters,
        "tied_output": checkpoint.tied_output,
        "layout": checkpoint.layout,
        "types": {
            name: {"tensors": count, "n_bytes": n_bytes}
            for name, (count, n_bytes) in type_counts(checkpoint).items()
        },
        "bytes": byte_budget(checkpoint),
        "metadata": {
            _shown(key): value if _is_json_number(value) else _shown(value)
            for key, value in checkpoint.metadata.items()
        },
        "tensors": [
            {"name": name, "type": tensor.type, "shape": list(tensor.shape)}
            | ({} if isinstance(tensor, ShardedTensor)
               else {"offset": tensor.offset, "n_bytes": tensor.n_bytes, "file": tensor.file})
            for name, tensor in checkpoint.tensors.items()
        ],
    }  # fmt: skip


def _layout_line(checkpoint: Checkpoint) -> list[str]:
    """How the feed-forward matrices lie, where that is not as in every other file."""
    if checkpoint.layout == "rows":
        return []
    return [f"  layout      {_LAYOUT_WORDS[checkpoint.layout]}"]


def _expert_lines(checkpoint: Checkpoint) -> list[str]:
    """How many experts there are, and what one token needs of them."""
    config = checkpoint.config
    if not config.n_experts:
        return []
    return [
        f"  experts     {config.n_experts} in each layer, {config.n_experts_per_token} of them for "
        f"one token: {checkpoint.n_active_parameters:,} of the parameters"
    ]


def _origin_lines(checkpoint: Checkpoint) -> list[str]:
    """Which of the sizes the file does not state, and where they come from instead."""
    if not checkpoint.assumed:
        return ["  assumed     nothing: the file states every size"]
    rows = []
    for field, why in checkpoint.assumed.items():
        value = getattr(checkpoint.config, field)
        if isinstance(value, RopeScaling):
            value = f"{value.kind} {value.factor:g}"
        elif value is None:
            value = "none"
        shown = (
            f"{value:,}"
            if isinstance(value, int)
            else f"{value:g}"
            if isinstance(value, float)
            else value
        )
        rows.append(f"{field} {shown}: {one_line(why, _LONGEST_VALUE)}")
    return ["  assumed     " + f"\n{'':14s}".join(rows)]


def type_counts(checkpoint: Checkpoint) -> dict[str, tuple[int, int]]:
    """Stored type -> (how many tensors, how many bytes), most bytes first."""
    counts: Counter[str] = Counter()
    n_bytes: Counter[str] = Counter()
    for tensor in checkpoint.tensors.values():
        counts[tensor.type] += 1
        n_bytes[tensor.type] += tensor.own_bytes
    return {name: (counts[name], total) for name, total in n_bytes.most_common()}


def byte_budget(checkpoint: Checkpoint) -> dict[str, int]:
    """Where every byte of the files goes; the parts sum to the files' sizes."""
    budget: dict[str, int] = {}
    for section in checkpoint.sections:
        budget[section.name] = budget.get(section.name, 0) + section.n_bytes
    ranges = {  # a set, because a tied output may be the embedding's bytes under a second name
        (shard.file, shard.offset, shard.own_bytes)
        for tensor in checkpoint.tensors.values()
        for shard in (tensor.shards if isinstance(tensor, ShardedTensor) else (tensor,))
    }
    budget["tensors"] = sum(n_bytes for _, _, n_bytes in ranges)
    file_bytes = sum(path.stat().st_size for path in checkpoint.paths)
    budget["padding and other"] = file_bytes - sum(budget.values())
    return budget


def _is_json_number(value: object) -> bool:
    """Whether JSON can say it: it has no Infinity and no NaN."""
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _shown(value: object) -> str:
    """A key or a value of metadata on one line; a long list is cut to its length and its start."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if len(value) > 8:
            value = f"{len(value):,} items: {', '.join(repr(value[i]) for i in range(6))}, ..."
        else:
            value = list(value)
    return one_line(str(value), _LONGEST_VALUE)
