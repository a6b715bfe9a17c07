"""What a user states of a model because its file cannot: context, RoPE's numbers, norm_eps.

The formats of 2023 and Meta's params.json leave out some of these, and readers then assume what
most models of their kind have. A stated value replaces what was read or assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from llama_edu.config import RopeScaling
from llama_edu.errors import RequestError, ShapeError
from llama_edu.files.layout import Checkpoint

#: Field -> (its field in ModelConfig, what the command line calls it).
_FIELDS = {
    "context": ("max_seq_len", "--context"),
    "rope_theta": ("rope_theta", "--rope-theta"),
    "rope_factor": ("rope_scaling", "--rope-factor"),
    "norm_eps": ("norm_eps", "--norm-eps"),
}


@dataclass(frozen=True)
class Stated:
    """Values that replace a file's own; None leaves it as it is.

    Attributes:
        context: positions that the model can hold.
        rope_theta: the base of RoPE's wavelengths.
        rope_factor: by how much the rotations are stretched; 1 is not at all. The rule stays that
            of the file (linear or llama3), and is linear where the file has none.
        norm_eps: what RMSNorm adds to the mean square.
    Raises:
        RequestError: a number that is not positive.
    """

    context: int | None = None
    rope_theta: float | None = None
    rope_factor: float | None = None
    norm_eps: float | None = None

    def __post_init__(self) -> None:
        for name, (_, option) in _FIELDS.items():
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise RequestError(f"{option} is {value}, expected a positive number")

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        """The same checkpoint with these values; `assumed` says that they were stated.

        Raises RequestError for a context that exceeds a sliding window, beyond which this program
        would compute something else than the model.
        """
        given = {name for name in _FIELDS if getattr(self, name) is not None}
        if not given:
            return checkpoint
        window = checkpoint.metadata.get("sliding_window")
        if self.context is not None and isinstance(window, int) and self.context > window:
            raise RequestError(
                f"--context is {self.context:,}, expected at most {window:,}, the sliding window "
                f"of {checkpoint.paths[0].parent}; attention over more than it is not supported"
            )
        metadata = dict(checkpoint.metadata)
        changes: dict[str, object] = {}
        if self.context is not None:
            changes["max_seq_len"] = int(self.context)
        if self.rope_theta is not None:
            changes["rope_theta"] = float(self.rope_theta)
        if self.norm_eps is not None:
            changes["norm_eps"] = float(self.norm_eps)
        if self.rope_factor is not None:
            # divisors in a file are Llama 3.1's rule with the factor multiplied out
            has_divisors = metadata.pop("rope_freqs", None) is not None
            rule = RopeScaling("llama3" if has_divisors else "linear", 1.0)
            scaling = replace(
                checkpoint.config.rope_scaling or rule, factor=float(self.rope_factor)
            )
            changes["rope_scaling"] = scaling if self.rope_factor != 1 else None
        try:
            config = replace(checkpoint.config, **changes)  # type: ignore[arg-type]
        except ShapeError as error:
            raise RequestError(f"{checkpoint.paths[0]}: {error}") from None
        reasons = {_FIELDS[name][0]: _reason(name) for name in given}
        return replace(
            checkpoint,
            config=config,
            metadata=metadata,
            assumed={**checkpoint.assumed, **reasons},
        )


def _reason(name: str) -> str:
    return f"stated with {_FIELDS[name][1]}"


def stated_for(checkpoint: Checkpoint) -> Stated:
    """What a user has stated of an open checkpoint, to state it again of the same file."""
    config = checkpoint.config
    factor = 1.0 if config.rope_scaling is None else config.rope_scaling.factor
    values = {
        "context": config.max_seq_len, "rope_theta": config.rope_theta, "rope_factor": factor,
        "norm_eps": config.norm_eps,
    }  # fmt: skip
    given = {
        name: value
        for name, value in values.items()
        if checkpoint.assumed.get(_FIELDS[name][0]) == _reason(name)
    }
    return Stated(**given)  # type: ignore[arg-type]
