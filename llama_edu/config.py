"""ModelConfig: the sizes of one LLaMA, frozen, and rejected when they contradict each other."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass
from typing import Literal, get_args

from llama_edu.errors import ShapeError
from llama_edu.text import quoted

#: Which two numbers of a head RoPE rotates together: (2i, 2i + 1) as in Meta's, ggml and GGUF
#: files, or (i, i + head_dim / 2) as in Hugging Face files.
RopePairing = Literal["interleaved", "halves"]

#: What the feed-forward layer does to the gate: x * sigmoid(x), as every published LLaMA does, or
#: max(x, 0), which makes most of its numbers exactly zero.
Activation = Literal["silu", "relu"]

#: No count in a real model comes near this; a header that exceeds it is damaged or hostile.
_LARGEST_COUNT = 2**31 - 1


@dataclass(frozen=True)
class RopeScaling:
    """How a model stretches its rotations to contexts longer than it was originally trained on.

    kind "linear" divides every frequency by `factor`; kind "llama3" leaves short wavelengths alone,
    divides long ones by `factor` and blends between (Llama 3.1). Source: `rope_scaling` in the
    config.json of Llama 3.1, and `apply_scaling` in Meta's llama_models/llama3/model.py.
    """

    kind: Literal["linear", "llama3"]
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_seq_len: int = 8192

    def __post_init__(self) -> None:
        if not (math.isfinite(self.factor) and self.factor > 0):
            raise ShapeError(f"rope scaling: factor {self.factor}, expected a positive number")
        if self.kind == "llama3" and not self.high_freq_factor > self.low_freq_factor > 0:
            raise ShapeError(
                f"rope scaling: low_freq_factor {self.low_freq_factor} and high_freq_factor "
                f"{self.high_freq_factor}, expected 0 < low < high"
            )


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of one model, in Meta's terms (the README's glossary maps the other dialects).

    `head_dim` 0 means dim / n_heads. `n_experts` 0 is a dense model; otherwise each layer has that
    many feed-forward networks of width hidden_dim, and each token is computed by
    `n_experts_per_token` of them. Raises ShapeError when two sizes contradict each other.
    """

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    max_seq_len: int = 2048
    norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    head_dim: int = 0
    rope_pairing: RopePairing = "interleaved"
    rope_scaling: RopeScaling | None = None
    activation: Activation = "silu"
    n_experts: int = 0
    n_experts_per_token: int = 0

    def __post_init__(self) -> None:
        counts = (
            "dim",
            "hidden_dim",
            "n_layers",
            "n_heads",
            "n_kv_heads",
            "vocab_size",
            "max_seq_len",
        )
        for field in counts:
            value = getattr(self, field)
            if not 0 < value <= _LARGEST_COUNT:
                raise ShapeError(
                    f"model sizes: {field} is {value:,}, expected 1 to {_LARGEST_COUNT:,}"
                )
        if self.head_dim == 0:
            if self.dim % self.n_heads:
                raise ShapeError(
                    f"model sizes: dim {self.dim} is not a multiple of n_heads {self.n_heads}"
                )
            object.__setattr__(self, "head_dim", self.dim // self.n_heads)
        if self.head_dim % 2 or self.head_dim < 0:
            raise ShapeError(
                f"model sizes: head_dim {self.head_dim} is not even; RoPE rotates pairs of numbers"
            )
        if self.n_heads % self.n_kv_heads:
            raise ShapeError(
                f"model sizes: n_heads {self.n_heads} is not a multiple of n_kv_heads "
                f"{self.n_kv_heads}; each key/value head serves an equal group of query heads"
            )
        for field in ("norm_eps", "rope_theta"):
            value = getattr(self, field)
            if not (math.isfinite(value) and value > 0):
                raise ShapeError(f"model sizes: {field} is {value}, expected a positive number")
        if self.activation not in get_args(Activation):
            raise ShapeError(
                f"model sizes: activation is {quoted(str(self.activation), 40)}, expected "
                f"{' or '.join(get_args(Activation))}"
            )
        self._check_experts()

    def _check_experts(self) -> None:
        """Raise ShapeError unless a token can be computed by that many of the experts."""
        n, used = self.n_experts, self.n_experts_per_token
        if not 0 <= n <= _LARGEST_COUNT:
            raise ShapeError(f"model sizes: n_experts is {n:,}, expected 0 to {_LARGEST_COUNT:,}")
        if n == 0 and used != 0:
            raise ShapeError(
                f"model sizes: n_experts_per_token is {used:,} and there are no experts, expected 0"
            )
        if n and not 1 <= used <= n:
            raise ShapeError(
                f"model sizes: n_experts_per_token is {used:,}, expected 1 to n_experts {n:,}"
            )

    @property
    def n_groups(self) -> int:
        """Query heads that share one key/value head."""
        return self.n_heads // self.n_kv_heads

    @property
    def q_dim(self) -> int:
        """Width of all query heads side by side; equals dim in most models."""
        return self.n_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of all key (or value) heads side by side."""
        return self.n_kv_heads * self.head_dim

    def tensor_shapes(self, *, tied_output: bool = False) -> dict[str, tuple[int, ...]]:
        """Every weight's name and its shape, (out_features, in_features), in canonical order."""
        shapes: dict[str, tuple[int, ...]] = {
            "token_embedding": (self.vocab_size, self.dim),
            "final_norm": (self.dim,),
        }
        if not tied_output:
            shapes["output"] = (self.vocab_size, self.dim)
        for i in range(self.n_layers):
            shapes |= {
                f"layers.{i}.wq": (self.q_dim, self.dim),
                f"layers.{i}.wk": (self.kv_dim, self.dim),
                f"layers.{i}.wv": (self.kv_dim, self.dim),
                f"layers.{i}.wo": (self.dim, self.q_dim),
                **self._feed_forward_shapes(f"layers.{i}"),
                f"layers.{i}.attention_norm": (self.dim,),
                f"layers.{i}.ffn_norm": (self.dim,),
            }
        return shapes

    def _feed_forward_shapes(self, layer: str) -> dict[str, tuple[int, ...]]:
        """One network, or a router and `n_experts` networks."""
        networks = [f"{layer}.experts.{e}" for e in range(self.n_experts)] or [layer]
        shapes: dict[str, tuple[int, ...]] = {}
        if self.n_experts:
            shapes[f"{layer}.router"] = (self.n_experts, self.dim)
        for network in networks:
            shapes |= {
                f"{network}.w_gate": (self.hidden_dim, self.dim),
                f"{network}.w_down": (self.dim, self.hidden_dim),
                f"{network}.w_up": (self.hidden_dim, self.dim),
            }
        return shapes


def output_name(names: Container[str]) -> str:
    """The weight that scores the next token: "output", or the embedding if the two are tied.

    `names` are the names of a model's weights.
    """
    return "output" if "output" in names else "token_embedding"


def hidden_dim_by_rule(dim: int, multiple_of: int, multiplier: float | None = None) -> int:
    """Width of the feed-forward layer that Meta's code derives from dim and multiple_of.

    Two thirds of 4 * dim, times `multiplier` (Llama 2 and later), rounded up to a multiple of
    `multiple_of`. ShapeError unless both sizes are positive.
    Source: `FeedForward.__init__` in Meta's llama/model.py.
    """
    if dim <= 0 or multiple_of <= 0:
        raise ShapeError(f"model sizes: dim {dim} and multiple_of {multiple_of}, expected both > 0")
    width = 2 * (4 * dim) // 3
    if multiplier is not None:
        width = int(multiplier * width)
    return (width + multiple_of - 1) // multiple_of * multiple_of
